import { MigrationError } from './errors.ts'

/** UTC, so that the names of files made in different time zones sort by their age. */
export function timestamp(): string {
  return new Date().toISOString().replace(/\D/g, '').slice(0, 14)
}

/**
 * Throws for pending ones that sort before an applied one, such as those of a branch that was merged late, because
 * Kysely refuses them. The error has the command that renames them. It is not `git mv`, which fails for a new file.
 */
export function refuseLate(applied: string[], pending: string[]): void {
  const last = applied.toSorted().at(-1) ?? ''
  const late = pending.filter((name) => name < last)
  if (late.length === 0) return
  const next = Math.max(Number(timestamp()), Number.parseInt(last, 10) + 1)
  const commands = late.map((name, index) => `mv migrations/${name}.ts migrations/${next + index}_${name.slice(15)}.ts`)
  throw new MigrationError(`${late.join(', ')}: older than ${last}, which is applied. Rename: ${commands.join(' && ')}`)
}

/** Throws for applied ones without a file here. Kysely would refuse to migrate too, with `corrupted migrations`. */
export function refuseUnknown(unknown: string[], schema: string): void {
  if (unknown.length === 0) return
  throw new MigrationError(
    `Schema ${schema} has another service's migrations, or those of another version, with no file here: ` +
      `${unknown.join(', ')}. A service of its own takes a schema of its own, by DATABASE_SCHEMA`,
  )
}
