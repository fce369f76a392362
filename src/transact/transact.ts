import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlledTransaction, IsolationLevel, Kysely, Transaction } from 'kysely'
import pg from 'pg'
import { HttpError } from '../core/http-error.ts'
import { learnReasons, reasonOf } from '../core/reasons.ts'
import { backoff } from '../core/retry.ts'
import { reasons } from '../database/reasons.ts'

// Here, so that it works without the app too.
learnReasons(reasons)

export interface TransactOptions {
  /** The server's default (read committed) unless given. */
  isolation?: IsolationLevel
  /** Tries in all. */
  attempts?: number
  /** Milliseconds between two tries, at the most. */
  maxDelayMs?: number
}

/** The connection was lost while COMMIT was under way: the transaction is in the database, or is not. */
export class UnknownOutcomeError extends HttpError {
  override name = 'UnknownOutcomeError'

  constructor(cause: unknown) {
    const message = 'The connection was lost during COMMIT: the transaction is in the database, or is not'
    super(503, message, { code: 'UNKNOWN_OUTCOME', cause })
  }
}

/**
 * Runs a transaction, and runs it again when the server could not serialize it, broke a deadlock with it, or lost the
 * connection. So `run` may be called several times: what it does outside the database is its own affair. Its own
 * errors and those of constraints are not retried. Throws UnknownOutcomeError, without a retry, when the connection
 * was lost while COMMIT was under way; else the last error.
 */
export async function transact<DB, T>(
  db: Kysely<DB>,
  run: (trx: Transaction<DB>) => Promise<T>,
  { isolation, attempts = 3, maxDelayMs = 5_000 }: TransactOptions = {},
): Promise<T> {
  let outcome = await once(db, run, isolation)
  for (let attempt = 1; 'err' in outcome; attempt++) {
    if (!outcome.again || attempt >= attempts) throw outcome.err
    await sleep(backoff(attempt, maxDelayMs))
    outcome = await once(db, run, isolation)
  }
  return outcome.result
}

type Outcome<T> = { result: T } | { err: unknown; again: boolean }

async function once<DB, T>(
  db: Kysely<DB>,
  run: (trx: Transaction<DB>) => Promise<T>,
  isolation?: IsolationLevel,
): Promise<Outcome<T>> {
  let trx: ControlledTransaction<DB> | undefined
  let committing = false
  try {
    const transaction = db.startTransaction()
    trx = await (isolation ? transaction.setIsolationLevel(isolation) : transaction).execute()
    const result = await run(trx)
    committing = true
    await trx.commit().execute()
    return { result }
  } catch (err) {
    if (!trx) return { err, again: saysLost(err) }
    const lost = await endedByLoss(trx)
    if (committing && NEVER_SENT.test((err as Error).message)) return { err, again: true }
    if (committing && lost) return { err: new UnknownOutcomeError(err), again: false }
    // The caller's own error can look like a lost connection, one to another service.
    return { err, again: asksAgain(err) || (lost && saysLost(err)) }
  }
}

/** Rolls back, and finds out by it whether the connection is still there. */
async function endedByLoss<DB>(trx: ControlledTransaction<DB>): Promise<boolean> {
  try {
    await trx.rollback().execute()
    return false
  } catch {
    return true
  }
}

/** pg's message for a statement on a connection that it knows to be lost. */
const NEVER_SENT = /is not queryable$/

function saysLost(err: unknown): boolean {
  return ['refused', 'unreachable', 'loading'].includes(reasonOf(err))
}

/** serialization_failure and deadlock_detected: the cure is another try of the whole transaction. */
function asksAgain(err: unknown): boolean {
  return err instanceof pg.DatabaseError && (err.code === '40001' || err.code === '40P01')
}
