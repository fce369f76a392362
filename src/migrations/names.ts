import { MigrationError } from './errors.ts'

/** UTC, so that the names of files made in different time zones sort by their age. */
export function timestamp(): string {
  return new Date().toISOString().replace(/\D/g, '').slice(0, 14)
}

/** Other names for these migrations, in their order, which sort after `last` and are not older than now. */
export function newNames(names: string[], last: string): string[] {
  const next = Math.max(Number(timestamp()), Number.parseInt(last, 10) + 1)
  return names.map((name, index) => `${next + index}_${name.slice(15)}`)
}

/**
 * The names that the database lacks. A squashed migration that has no file here is of a later release, and holds all up
 * to its timestamp: this release was rolled back to, and lacks nothing.
 */
export function pendingOf(names: string[], applied: string[]): string[] {
  const later = applied.filter((name) => isSquashed(name) && !names.includes(name)).toSorted()
  const held = later.at(-1)?.slice(0, 14) ?? ''
  return names.filter((name) => !applied.includes(name) && name.slice(0, 14) > held).toSorted()
}

function isSquashed(name: string): boolean {
  return /^\d{14}_squashed/.test(name)
}

/**
 * Throws for pending ones that sort before an applied one, such as those of a branch that was merged late, because
 * Kysely refuses them. The error has the command that renames them, and those pending after them, which may need them. It
 * is not `git mv`, which fails for a new file.
 */
export function refuseLate(applied: string[], pending: string[]): void {
  const last = applied.toSorted().at(-1) ?? ''
  const late = pending.filter((name) => name < last)
  if (late.length === 0) return
  throw new MigrationError(`${late.join(', ')}: older than ${last}, which is applied. ${renaming(pending, last)}`)
}

function renaming(names: string[], last: string): string {
  const renamed = newNames(names, last)
  const commands = names.map((name, index) => `mv migrations/${name}.ts migrations/${renamed[index]}.ts`)
  return `Rename: ${commands.join(' && ')}`
}

/** Throws for applied ones without a file here. Kysely would refuse to migrate too, with `corrupted migrations`. */
export function refuseUnknown(unknown: string[], schema: string): void {
  if (unknown.length === 0) return
  const files = unknown.map((name) => `migrations/${name}.ts`)
  throw new MigrationError(
    `Schema ${schema} has migrations of another branch, release or service, with no file here: ${unknown.join(', ')}. ` +
      `A branch's: git checkout BRANCH -- ${files.join(' ')} brings them here, and npx kysely migrate:down undoes the ` +
      "last one; npm run reset empties a development database. A release's: run that release. " +
      'A service takes a schema of its own, by DATABASE_SCHEMA',
  )
}

/** Whether the database has all that a squashed migration replaces; throws when it has some of them and not all. */
export function isReplacedBy(name: string, replaces: string[], applied: string[]): boolean {
  const missing = replaces.filter((one) => !applied.includes(one))
  if (missing.length === 0) return true
  if (missing.length === replaces.length) return false
  throw new MigrationError(
    `${name} replaces what this database has in part; it lacks ${missing.join(', ')}. Migrate it first with the last ` +
      `release that has their files: git log -1 --diff-filter=D --format=%h~ -- migrations/${missing.at(-1)}.ts says which ` +
      'commit that is. npm run reset empties a development database',
  )
}

/**
 * Throws unless it holds all up to its timestamp, and its name says that it does: an earlier release knows it by that
 * alone, and must boot after a rollback.
 */
export function refuseSquashed(name: string, replaces: string[], names: string[]): void {
  const until = (replaces.toSorted().at(-1) as string).slice(0, 14)
  if (!isSquashed(name) || !name.startsWith(until)) {
    throw new MigrationError(
      `migrations/${name}.ts replaces others: mv migrations/${name}.ts migrations/${until}_squashed.ts`,
    )
  }
  const gone = names.filter((other) => replaces.includes(other)).map((other) => `migrations/${other}.ts`)
  if (gone.length > 0) throw new MigrationError(`${name} replaces what still has a file: rm ${gone.join(' ')}`)
  const late = names.filter((other) => other < name)
  if (late.length === 0) return
  throw new MigrationError(`${late.join(', ')}: older than ${name}, which is the first. ${renaming(late, name)}`)
}
