/**
 * `npm run check:migrations [-- REF]`: whether this branch can be merged into REF, or its release follow REF, without a
 * database that has migrations in another order. REF is what CI merges into, unless given; else the default branch of
 * origin; else the newest tag. It asks git and no database.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { transformSync } from 'esbuild'
import { loadMigrations } from '../../src/migrations/migrator.ts'
import { type Git, gitIn, Refusal, tried } from '../upgrade/git.ts'

export const ROOT = path.join(import.meta.dirname, '../..')
const FOLDER = 'migrations/'

export interface Findings {
  problems: string[]
  /** Files that are to be renamed, in their order. */
  late: string[]
  /** Files of REF. */
  merged: string[]
}

/** Undefined when there is nothing to compare with. Throws Refusal for one that is not in this clone. */
export function target(git: Git, wanted?: string): string | undefined {
  const branch = process.env['GITHUB_BASE_REF'] || process.env['CI_MERGE_REQUEST_TARGET_BRANCH_NAME']
  const asked = wanted ?? (branch && `origin/${branch}`)
  if (asked && !has(git, asked)) {
    const missing = wanted === undefined ? `${branch}:refs/remotes/origin/${branch}` : '--tags'
    throw new Refusal(`This clone has no ${asked}: git fetch origin ${missing}`)
  }
  if (asked) return asked
  const ref = has(git, 'origin/HEAD') ? 'origin/HEAD' : tried(git, 'describe', '--tags', '--abbrev=0')?.trim()
  return ref && !isOfSkeleton(git, ref) ? ref : undefined
}

/**
 * Until a service has a branch or a tag of its own, its clone has those of the skeleton, with migrations that
 * `npm run init` has left out.
 */
function isOfSkeleton(git: Git, ref: string): boolean {
  const { skeleton } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'))
  const base = tried(git, 'merge-base', 'HEAD', ref)?.trim()
  if (!skeleton || !base) return false
  return tried(git, 'merge-base', '--is-ancestor', base, skeleton.commit) !== undefined
}

function has(git: Git, ref: string): boolean {
  return tried(git, 'rev-parse', '--verify', '--quiet', `${ref}^{commit}`) !== undefined
}

/** Of the files as they lie here, committed or not. */
export async function findings(git: Git, ref: string): Promise<Findings> {
  const merged = filesOf(git, ref)
  const base = tried(git, 'merge-base', 'HEAD', ref)?.trim()
  const before = base ? filesOf(git, base) : merged
  const here = filesHere(git)
  const loaded = await loadMigrations({})
  const squashed = new Set(Object.values(loaded).flatMap(({ replaces = [] }) => replaces))
  const problems: string[] = []
  const problem = (file: string, what: string) => problems.push(`${FOLDER}${file} ${what}`)

  for (const [file, hash] of before) {
    const now = here.get(file)
    if (now === hash || now === merged.get(file) || squashed.has(nameOf(file))) continue
    const other = [...here].find(([name, content]) => content === hash && !before.has(name))?.[0]
    if (other) problem(other, `was ${file} in ${ref}, and is frozen: mv ${FOLDER}${other} ${FOLDER}${file}`)
    else if (now === undefined)
      problem(file, `is gone, which ${ref} has: git checkout ${base ?? ref} -- ${FOLDER}${file}`)
    else if (!isSameCode(git('show', `${hash}`), readFileSync(path.join(ROOT, FOLDER, file), 'utf8')))
      problem(file, `differs from that of ${ref}, and is frozen: git checkout ${base ?? ref} -- ${FOLDER}${file}`)
  }

  const contents = new Set(before.values())
  const added = [...here.keys()].filter((file) => !merged.has(file) && !before.has(file)).toSorted()
  const own = added.filter((file) => {
    const { isApplied, replaces } = loaded[nameOf(file)] ?? {}
    return !isApplied && !replaces && !contents.has(here.get(file) as string)
  })
  const last = [...merged.keys()].toSorted().at(-1) ?? ''
  const late = own.filter((file, index) => {
    const twin = own[index - 1]
    if (time(file) <= time(last)) problem(file, `is not newer than ${last} of ${ref}: npm run rename:migrations`)
    else if (twin && time(twin) === time(file)) problem(file, `has the timestamp of ${twin}: npm run rename:migrations`)
    else return false
    return true
  })
  // Those behind the first one may need it.
  return { problems, late: late[0] === undefined ? [] : own.slice(own.indexOf(late[0])), merged: [...merged.keys()] }
}

/** Hashes by name. */
function filesOf(git: Git, ref: string): Map<string, string> {
  const entries = git('ls-tree', '-z', ref, FOLDER).split('\0').filter(Boolean)
  return new Map(
    entries.map((entry) => {
      const [, , hash = '', file = ''] = /^(\S+ \S+ )(\S+)\t(.*)$/.exec(entry) ?? []
      return [path.basename(file), hash]
    }),
  )
}

function filesHere(git: Git): Map<string, string> {
  const files = readdirSync(path.join(ROOT, FOLDER)).filter((file) => !file.startsWith('.'))
  const hashes = git('hash-object', '--', ...files.map((file) => FOLDER + file)).split('\n')
  return new Map(files.map((file, index) => [file, hashes[index] as string]))
}

/** Comments, types and format may change. */
function isSameCode(...texts: [string, string]): boolean {
  const [one, other] = texts.map((text) => transformSync(text, { loader: 'ts', minifyWhitespace: true }).code)
  return one === other
}

export const nameOf = (file: string) => path.parse(file).name
const time = (file: string) => file.slice(0, 14)

async function main([wanted]: string[]): Promise<void> {
  const git = gitIn(ROOT)
  const ref = target(git, wanted)
  if (!ref)
    return console.log(
      'Nothing to compare the migrations with: no branch of origin, no tag. Name one: npm run check:migrations -- REF',
    )
  const { problems } = await findings(git, ref)
  if (tried(git, 'merge-base', 'HEAD', ref) === undefined)
    console.error(
      `This clone does not reach back to where ${ref} and HEAD part, and takes all of ${ref} for merged: git fetch --unshallow`,
    )
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log(`The migrations follow those of ${ref}.`)
}

if (import.meta.main) await refusing(() => main(process.argv.slice(2)))

/** Ends with the message alone of what is no fault of the command: it has a code, of git, PostgreSQL or the service. */
export async function refusing(run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (!(error instanceof Refusal) && code === undefined) throw error
    const { cause } = error as Error
    console.error(cause ? `${message}: ${(cause as Error).message}` : message)
    process.exitCode = 1
  }
}
