/**
 * `npm run upgrade -- VERSION`: takes over what the skeleton has changed. It makes the service of the version that it
 * came from, and of the new one, with the same choices, and merges their difference into this one. Nothing is committed.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { apply, type Outcome } from './apply.ts'
import { gitIn, Refusal } from './git.ts'
import { newNames, type Renames, renameMigrations } from './migrations.ts'
import { readRecord } from './record.ts'
import { migrationsIn, news, type Rendered, Versions } from './versions.ts'

const ROOT = path.join(import.meta.dirname, '../..')
const USAGE = 'usage: npm run upgrade -- VERSION    (a tag of the skeleton, such as 1.2.0; a branch; a commit)'
/** Exit codes: 1 says that nothing has changed. */
const REFUSED = 1
const UNFINISHED = 2

const temporary = mkdtempSync(path.join(tmpdir(), 'upgrade-'))
try {
  process.exitCode = main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = REFUSED
} finally {
  rmSync(temporary, { recursive: true, force: true })
}

function main([wanted, ...rest]: string[]): number {
  if (!wanted || wanted.startsWith('-') || rest.length > 0) throw new Refusal(USAGE)
  const record = readRecord(ROOT)
  const prefix = cleanRepository()
  const versions = new Versions(temporary, record.source, ROOT)
  const to = versions.find(wanted)
  if (!to) throw new Refusal(`The skeleton at ${record.source} has no version ${wanted}: ${versions.tags()}.`)
  const from = (record.commit && versions.find(record.commit)) || versions.find(record.version)
  if (!from)
    throw new Refusal(
      `The skeleton at ${record.source} has neither the commit nor the version that this service was made of ` +
        `(${record.commit}, ${record.version}; "skeleton" in package.json): ${versions.tags()}.`,
    )
  if (from === to) return say(`This service has version ${record.version} (${to}) already.`)

  const old = versions.render('old', prefix, from, record)
  const next = versions.render('new', prefix, to, { ...record, commit: to })
  const renames = renamedMigrations(old, next)
  const base = versions.commit('old', `The skeleton ${old.version}`)
  const theirs = versions.commit('new', `Upgrade the skeleton from ${old.version} to ${next.version}`, [base])
  const outcome = apply(ROOT, prefix, versions, base, theirs)
  const failed = regenerate(outcome, prefix)
  say(summary({ old, next, renames, outcome, failed, chosen: record.features, theirs }))
  return outcome.conflicts.size + failed.length > 0 ? UNFINISHED : 0
}

/** The path of the service in its repository, with a slash at the end; empty where it is the repository. */
function cleanRepository(): string {
  const git = gitIn(ROOT)
  let status: string
  try {
    git('rev-parse', '--verify', 'HEAD')
    status = git('status', '--porcelain')
  } catch {
    throw new Refusal('This is no git repository with a commit: an upgrade is a merge.')
  }
  if (status) throw new Refusal(`Commit these first, or put them aside, so that git can undo the upgrade:\n${status}`)
  return git('rev-parse', '--show-prefix').replace(/\n$/, '')
}

function renamedMigrations(old: Rendered, next: Rendered): Renames {
  const own = migrationsIn(ROOT)
  const known = new Set([...migrationsIn(old.folder), ...own])
  const added = migrationsIn(next.folder).filter((name) => !known.has(name))
  const renames = newNames(added, own)
  renameMigrations(next.folder, renames)
  return renames
}

/** Writes anew what commands write, as far as the conflicts let them. Returns the commands that are still to be run. */
function regenerate({ conflicts }: Outcome, prefix: string): string[] {
  const commands: string[][] = []
  if (!conflicts.has(`${prefix}package.json`)) commands.push(install())
  if (conflicts.size === 0) commands.push(['run', 'docs'])
  const failed = commands.filter((args) => !npm(args))
  if (conflicts.size === 0) gitIn(ROOT)('add', '--all', '.')
  else if (existsSync(path.join(ROOT, 'package-lock.json'))) gitIn(ROOT)('add', 'package-lock.json')
  return failed.map((args) => `npm ${args.filter((arg) => !arg.startsWith('-')).join(' ')}`)
}

/** Where node_modules is not this folder's own, the lock alone. */
function install(): string[] {
  const modules = lstatSync(path.join(ROOT, 'node_modules'), { throwIfNoEntry: false })
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  return ['install', ...quiet, ...(modules?.isDirectory() ? [] : ['--package-lock-only', '--ignore-scripts'])]
}

function npm(args: string[]): boolean {
  try {
    execFileSync('npm', args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
    return true
  } catch {
    return false
  }
}

interface Done {
  old: Rendered
  next: Rendered
  renames: Renames
  outcome: Outcome
  failed: string[]
  chosen: string[]
  theirs: string
}

function summary({ old, next, renames, outcome, failed, chosen, theirs }: Done): string {
  const { conflicts, stayDeleted } = outcome
  const offered = next.features.filter((name) => !old.features.includes(name))
  const ended = chosen.filter((name) => !next.features.includes(name))
  const changes = news(old.changelog, next.changelog)
  const left = conflicts.size > 0 ? ['npm install', 'npm run docs'] : failed
  return [
    ...(changes ? [`${changes}\n`] : []),
    `From ${old.version} to ${next.version}:${gitIn(ROOT)('diff', '--shortstat', 'HEAD').replace(/\n$/, '') || ' no change'}.`,
    ...list('New features, which stay left out (their files are in the skeleton):', offered),
    ...list('No features of their own any more, in the new version:', ended),
    ...list(
      'New migrations, renamed so that they come after yours:',
      [...renames].map(([from, to]) => `${from} is ${to}`),
    ),
    ...list(
      `Deleted by you and changed by the skeleton; they stay deleted (git show ${theirs.slice(0, 12)}):`,
      stayDeleted,
    ),
    ...list(
      'CONFLICTS, marked as git marks them:',
      [...conflicts].map(([file, what]) => `${file}: ${what}`),
    ),
    ...list('FAILED, see above:', failed),
    '\nNothing is committed. To undo all of it: git reset --hard && npm ci. To go on:',
    ...(conflicts.size > 0 ? ['  resolve the conflicts, and git add each file'] : []),
    ...left.map((command) => `  ${command}`),
    '  npm test',
    '  git commit',
  ].join('\n')
}

function list(title: string, items: string[]): string[] {
  return items.length > 0 ? [`\n${title}`, ...items.map((item) => `  ${item}`)] : []
}

function say(text: string): 0 {
  process.stdout.write(`${text}\n`)
  return 0
}
