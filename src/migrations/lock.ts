import { setTimeout as sleep } from 'node:timers/promises'
import { type QueryExecutorProvider, sql } from 'kysely'
import { backoff } from '../core/retry.ts'
import type { MigrationOptions } from './options.ts'

/** Kysely's own lock number, so that a plain Kysely migrator beside this one is kept out too. */
const LOCK_ID = sql.lit('3853314791062309107')
/** How long a replica waits for another one's migrations before it gives up, and is started again by what runs it. */
const LOCK_WAIT_MS = 10 * 60_000

/**
 * Runs it while no other process migrates. Asks for the lock again and again, where Kysely waits in the server, because
 * a statement that waits holds a snapshot, and `create index concurrently` in the replica that has the lock would wait
 * for that snapshot to end. Kysely then takes the lock once more for each migration, which a session may do.
 */
export async function withMigrationLock<T>(
  db: QueryExecutorProvider,
  { waiting, locked, signal, lockWaitMs = LOCK_WAIT_MS }: MigrationOptions,
  run: () => Promise<T>,
): Promise<T> {
  const giveUp = performance.now() + lockWaitMs
  const isLocked = async () => {
    const { rows } = await sql<{ locked: boolean }>`select pg_try_advisory_lock(${LOCK_ID}) as locked`.execute(db)
    return rows[0]?.locked
  }
  for (let tries = 0; !(await isLocked()); tries++) {
    if (tries === 0) waiting?.()
    if (performance.now() > giveUp) {
      throw new Error(
        `Another process has held the migration lock for ${lockWaitMs} ms. If none migrates: pg_locks shows ` +
          "its session, locktype 'advisory', for pg_terminate_backend",
      )
    }
    await sleep(backoff(tries), undefined, signal && { signal })
  }
  locked?.()
  try {
    return await run()
  } finally {
    await sql`select pg_advisory_unlock(${LOCK_ID})`.execute(db)
  }
}
