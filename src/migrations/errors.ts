import path from 'node:path'
import type { MigrationResult } from 'kysely/migration'
import { isPermanent, reasonOf, redact } from '../core/reasons.ts'

/** A migration cannot be loaded or fails, or the schema is not what this code needs. Waiting does not change that. */
export class MigrationError extends Error {
  readonly code = 'MIGRATION_FAILED'
}

/**
 * The `up` of a migration sends no statement, as in the file that `migrate:make` makes: it is not applied, and neither are
 * those after it, because order counts.
 */
export class EmptyMigrationError extends MigrationError {
  readonly migration: string

  constructor(file: string) {
    super(`migrations/${file} is empty: not applied. Write its up, which sends no statement, or remove the file`)
    this.migration = path.parse(file).name
  }
}

/** A migration failed outside a transaction, so what it did before stays done. */
export class NotRolledBackError extends Error {}

/**
 * Codes that are the migration's own fault, although they mean an outage elsewhere. 57014, 25P04: it takes longer than
 * the server or its role allows, and would again. ENOENT: a file that it reads is missing.
 */
const OWN_FAULT = /^(57014|25P04|ENOENT)$/

/**
 * An error that names the migration and says what is left of it. The error of a lost connection stays as it is, because
 * that is no fault of the migration. `before`: how many were applied, or undone, before it.
 */
export function failed(
  { migrationName, direction }: MigrationResult,
  before: number,
  cause: unknown,
  wayOut?: string,
): unknown {
  if (cause instanceof EmptyMigrationError) return cause
  const isFailure = isPermanent(cause) || OWN_FAULT.test(redact(cause).code as string)
  if (reasonOf(cause) !== 'error' && !isFailure) return cause
  const rolledBack = cause instanceof NotRolledBackError ? 'not rolled back' : 'rolled back: nothing of it is left'
  const done = direction === 'Up' ? 'applied' : 'undone'
  const rest = before > 0 ? `; ${before} ${done} before it stay ${done}` : ''
  const message = `${migrationName} failed and was ${rolledBack}${rest}`
  return new MigrationError(wayOut ? `${message}. ${wayOut}` : message, { cause })
}

/** The same error, or one that says what to do if row-level security would have hidden rows. */
export function explained(err: unknown): unknown {
  const { routine, message } = Object(err)
  if (routine !== 'check_enable_rls') return err
  const cure =
    'Its owner sees all rows between `alter table … no force row level security` and `alter table … force row level ' +
    'security`, in the same transaction'
  return new Error(`${message}. ${cure}`, { cause: err })
}
