import { setTimeout as sleep } from 'node:timers/promises'
import { PostgresAdapter, PostgresDialect, type PostgresDialectConfig, type QueryExecutorProvider, sql } from 'kysely'
import { backoff } from '../retry.ts'
import type { MigrationEvents } from './migrator.ts'

/** Kysely's own lock number, so that a plain Kysely migrator beside this one is kept out too. */
const LOCK_ID = '3853314791062309107'
/** How long a replica waits for another one's migrations before it gives up, and is started again by what runs it. */
const LOCK_WAIT_MS = 10 * 60_000

interface Wait {
  events: MigrationEvents
  signal?: AbortSignal | undefined
  waitMs?: number | undefined
}

/** Kysely's PostgreSQL dialect with a lock for migrations that is asked for, not waited for in the server. */
export class MigrationDialect extends PostgresDialect {
  readonly #wait: Wait

  constructor(config: PostgresDialectConfig, wait: Wait) {
    super(config)
    this.#wait = wait
  }

  override createAdapter(): PostgresAdapter {
    return new MigrationAdapter(this.#wait)
  }
}

/**
 * Asks for the lock again and again where Kysely waits in the server for up to an hour: a statement that waits holds
 * a snapshot, and `create index concurrently` in the replica that has the lock would wait for that snapshot to end.
 */
class MigrationAdapter extends PostgresAdapter {
  readonly #wait: Wait

  constructor(wait: Wait) {
    super()
    this.#wait = wait
  }

  override async acquireMigrationLock(db: QueryExecutorProvider): Promise<void> {
    const { events, signal, waitMs = LOCK_WAIT_MS } = this.#wait
    const giveUp = performance.now() + waitMs
    const isLocked = async () => {
      const lock = sql<{ locked: boolean }>`select pg_try_advisory_lock(${sql.lit(LOCK_ID)}) as locked`
      const { rows } = await lock.execute(db)
      return rows[0]?.locked
    }
    for (let tries = 0; !(await isLocked()); tries++) {
      if (performance.now() > giveUp) {
        throw new Error(
          `Another process has held the migration lock for ${waitMs} ms. If none migrates: pg_locks shows its session, ` +
            "locktype 'advisory', for pg_terminate_backend",
        )
      }
      if (tries === 0) events.waiting?.()
      await sleep(backoff(tries), undefined, signal && { signal })
    }
    events.locked?.()
  }
}
