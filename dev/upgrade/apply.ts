import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Git, gitIn, messageOf, pathsOf, Refusal } from './git.ts'
import { mergeManifests } from './manifest.ts'
import type { Versions } from './versions.ts'

/** What git writes for each kind of conflict. */
const CONFLICTS: Record<string, string> = {
  UU: 'both have changed it',
  AA: 'both have added it',
  UD: 'you have changed it, the skeleton has deleted it',
  DD: 'both have moved it, or deleted it',
  AU: 'you have moved it, the skeleton has changed it',
  UA: 'the skeleton has moved it, you have changed it',
}

export interface Outcome {
  /** Files that the service had deleted and the skeleton changed: they stay deleted. */
  stayDeleted: string[]
  /** What is wrong, by file. */
  conflicts: Map<string, string>
}

/**
 * Applies the difference of two commits of the clone to index and working tree, in a three-way merge. Neither HEAD nor
 * any branch moves: cherry-pick --no-commit is git's merge with a base of one's own.
 */
export function apply(root: string, prefix: string, versions: Versions, base: string, theirs: string): Outcome {
  const git = gitIn(root)
  const quiet = ['--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance', '--no-recurse-submodules']
  git('fetch', ...quiet, versions.folder, 'refs/upgrade/new')
  refuseToOverwrite(git, versions.added(base, theirs))
  try {
    git(
      '-c',
      'core.hooksPath=/dev/null',
      '-c',
      'merge.renameLimit=10000',
      ...ANYBODY,
      'cherry-pick',
      '--no-commit',
      theirs,
    )
  } catch (error) {
    if (unmerged(git).size === 0) throw new Refusal(`git cannot merge:\n${messageOf(error)}`)
  }
  mergeManifest(git, root, prefix, versions, base, theirs)
  return { stayDeleted: keepDeleted(git), conflicts: describe(unmerged(git)) }
}

/** No commit is made, and yet git asks who makes it. */
const ANYBODY = ['-c', 'user.name=npm run upgrade', '-c', 'user.email=upgrade@localhost', '-c', 'commit.gpgSign=false']

/** A merge overwrites what .gitignore names. */
function refuseToOverwrite(git: Git, added: string[]): void {
  const top = git('rev-parse', '--show-toplevel').replace(/\n$/, '')
  const ignored =
    added.length === 0 ? [] : pathsOf(gitIn(top)('--literal-pathspecs', 'ls-files', '-z', '--others', '--', ...added))
  if (ignored.length > 0)
    throw new Refusal(`The skeleton brings files that lie here untracked: put them aside.\n${lines(ignored)}`)
}

const lines = (items: string[]) => items.map((item) => `  ${item}`).join('\n')

/** The two letters that git status has for each file that is not merged. */
function unmerged(git: Git): Map<string, string> {
  const entries = pathsOf(git('status', '--porcelain', '-z', '--no-renames'))
  return new Map(
    entries
      .map((entry) => [entry.slice(3), entry.slice(0, 2)] as const)
      .filter(([, state]) => state in CONFLICTS || state === 'DU'),
  )
}

function describe(states: Map<string, string>): Map<string, string> {
  return new Map([...states].map(([file, state]) => [file, CONFLICTS[state] ?? state]))
}

function mergeManifest(git: Git, root: string, prefix: string, versions: Versions, base: string, theirs: string): void {
  const file = `${prefix}package.json`
  if (unmerged(git).get(file) !== 'UU') return
  const before = versions.show(base, file) ?? '{}'
  const merged = mergeManifests(before, git('show', `HEAD:${file}`), versions.show(theirs, file) ?? '{}')
  if (merged === undefined) return
  writeFileSync(path.join(root, 'package.json'), merged)
  git('add', '--', 'package.json')
}

/** Who has deleted a file does not want its changes; git would bring it back. */
function keepDeleted(git: Git): string[] {
  const files = [...unmerged(git)].filter(([, state]) => state === 'DU').map(([file]) => file)
  if (files.length > 0) git('rm', '--quiet', '--force', '--', ...files.map((file) => `:(top,literal)${file}`))
  return files
}
