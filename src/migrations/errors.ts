import type { MigrationResult } from 'kysely/migration'
import { isPermanent, reasonOf, redact } from '../core/reasons.ts'

/** A migration cannot be loaded, or the schema is not what this code needs: waiting will not change that. */
export class MigrationError extends Error {
  readonly code = 'MIGRATION_FAILED'
}

/** A migration that ran outside a transaction failed: what it did before that is done. */
export class NotRolledBackError extends Error {}

/**
 * The server ends a statement or a transaction that takes longer than it or its role allows: it would again. A file that
 * a migration reads is missing: a connection that is there already gives no such code.
 */
const OWN_FAULT = /^(57014|25P04|ENOENT)$/

/**
 * The error of a migration, which names it and says what is left. A lost connection's stays as it is, because that is
 * no fault of the migration. `before`: how many went the same way before it.
 */
export function failed({ migrationName, direction }: MigrationResult, before: number, cause: unknown): unknown {
  const isFailure = isPermanent(cause) || OWN_FAULT.test(redact(cause).code as string)
  if (reasonOf(cause) !== 'error' && !isFailure) return cause
  const rolledBack = cause instanceof NotRolledBackError ? 'not rolled back' : 'rolled back: nothing of it is left'
  const done = direction === 'Up' ? 'applied' : 'undone'
  const rest = before > 0 ? `; ${before} ${done} before it stay ${done}` : ''
  return new MigrationError(`${migrationName} failed and was ${rolledBack}${rest}`, { cause })
}

/** The same error. If it is PostgreSQL's of rows that row-level security would hide, one that says what to do. */
export function explained(err: unknown): unknown {
  const { routine, message } = Object(err)
  if (routine !== 'check_enable_rls') return err
  const cure =
    'Its owner sees all rows between `alter table … no force row level security` and `alter table … force row level ' +
    'security`, in the same transaction'
  return new Error(`${message}. ${cure}`, { cause: err })
}
