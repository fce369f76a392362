import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { type Git, gitIn, messageOf, pathsOf, Refusal, tried } from './git.ts'
import type { SkeletonRecord } from './record.ts'

/** Whatever is configured, contents stay as they are, nothing is signed, and no hook runs. */
const PLAIN = ['core.autocrlf=false', 'core.safecrlf=false', 'core.attributesFile=', 'core.hooksPath=/dev/null']
const IDENTITY = Object.fromEntries(
  ['AUTHOR', 'COMMITTER'].flatMap((who) => [
    [`GIT_${who}_NAME`, 'npm run upgrade'],
    [`GIT_${who}_EMAIL`, 'upgrade@localhost'],
  ]),
)
/** So many tags are named to one who asked for a version that there is not. */
const TAGS_SHOWN = 20

/** What a version of skeleton/render.ts says of itself. */
interface Report {
  version: string
  features: string[]
  generated: string[]
}

/** A version of the skeleton, rendered with the choices of the service. */
export interface Rendered extends Report {
  folder: string
  /** What users see of each version, newest first. */
  changelog: string
}

/** A clone of the skeleton in a temporary folder, where its versions are rendered and compared. */
export class Versions {
  readonly folder: string
  readonly #parent: string
  readonly #git: Git

  constructor(parent: string, source: string, root: string) {
    this.#parent = parent
    this.folder = path.join(parent, 'skeleton.git')
    try {
      gitIn(root)('clone', '--quiet', '--bare', '--template=', '--', source, this.folder)
    } catch (error) {
      throw new Refusal(`The skeleton cannot be cloned from ${source}:\n${messageOf(error)}`)
    }
    this.#git = gitIn(this.folder)
  }

  /** The commit of a tag, with or without v, a branch or a commit; undefined when there is none. */
  find(version: string): string | undefined {
    const names = [`refs/tags/v${version}`, `refs/tags/${version}`, `refs/heads/${version}`]
    if (/^[0-9a-f]{7,40}$/.test(version)) names.push(version)
    return names.map((name) => this.#commit(name)).find((commit) => commit !== undefined)
  }

  /** Newest first. */
  tags(): string {
    const tags = this.#git('tag', '--sort=-version:refname').split('\n').filter(Boolean)
    return tags.length > 0 ? `its tags are ${tags.slice(0, TAGS_SHOWN).join(', ')}` : 'it has no tags'
  }

  /** Lets the version's own code make a service, in `parent/label/prefix`. */
  render(label: string, prefix: string, commit: string, choices: SkeletonRecord): Rendered {
    const folder = path.join(this.#parent, label, prefix)
    mkdirSync(folder, { recursive: true })
    const git = this.#inFolder(folder, `${label}-checkout`)
    git('read-tree', commit)
    git('checkout-index', '--all')
    const changelog = tried(this.#git, 'show', `${commit}:CHANGELOG.md`) ?? ''
    const command = [path.join(folder, 'skeleton/render.ts'), JSON.stringify(choices)]
    let report: Report
    try {
      report = JSON.parse(
        execFileSync(process.execPath, command, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }),
      )
    } catch (error) {
      throw new Refusal(`skeleton/render.ts of ${commit} fails:\n${messageOf(error)}`)
    }
    for (const file of report.generated) rmSync(path.join(folder, file), { force: true })
    return { ...report, folder, changelog }
  }

  /** A commit of all that is in `parent/label`; parent and result are commits of the clone. */
  commit(label: string, message: string, parents: string[] = []): string {
    const git = this.#inFolder(path.join(this.#parent, label), label)
    git('add', '--all', '--force', '.')
    const options = ['--no-gpg-sign', '-m', message, ...parents.flatMap((parent) => ['-p', parent])]
    const commit = git('commit-tree', git('write-tree').trim(), ...options).trim()
    git('update-ref', `refs/upgrade/${label}`, commit)
    return commit
  }

  /** The files that one commit has and the other has not. */
  added(from: string, to: string): string[] {
    return pathsOf(this.#git('diff', '--name-only', '-z', '--no-renames', '--diff-filter=A', from, to))
  }

  /** The text of a file in a commit. */
  show(commit: string, file: string): string | undefined {
    return tried(this.#git, 'show', `${commit}:${file}`)
  }

  #commit(name: string): string | undefined {
    return tried(this.#git, 'rev-parse', '--verify', '--quiet', `${name}^{commit}`)?.trim()
  }

  #inFolder(folder: string, index: string): Git {
    const git = gitIn(folder, { ...IDENTITY, GIT_INDEX_FILE: path.join(this.#parent, `${index}.index`) })
    const plain = PLAIN.flatMap((setting) => ['-c', setting])
    return (...args) => git(`--git-dir=${this.folder}`, `--work-tree=${folder}`, ...plain, ...args)
  }
}

/** The sections of a changelog that an older one does not have. */
export function news(older: string, newer: string): string {
  const sections = (text: string) => text.split(/\n(?=## )/).slice(1)
  const known = new Set(sections(older).map((section) => section.split('\n')[0]))
  return sections(newer)
    .filter((section) => !known.has(section.split('\n')[0]))
    .join('\n')
    .trim()
}

/** The migrations of a rendered version. */
export function migrationsIn(folder: string): string[] {
  try {
    return readdirSync(path.join(folder, 'migrations')).sort()
  } catch {
    return []
  }
}
