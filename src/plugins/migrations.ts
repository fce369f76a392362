import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import { Kysely } from 'kysely'
import type { Config } from '../config.ts'
import { createMigrator, migrationDialect, migrationState } from '../database/migrator.ts'
import { isPermanent, reasonOf } from '../reasons.ts'
import { backoff, retry } from '../retry.ts'

const LOCK_NOT_AVAILABLE = '55P03'
/** A batch that a busy table kept out is tried again this often; each try waits `MIGRATION_LOCK_TIMEOUT_MS`. */
const LOCK_ATTEMPTS = 5

/** The schema is not what this code needs, and waiting will not change that. */
export class MigrationError extends Error {
  readonly code = 'MIGRATION_FAILED'
}

/** Brings the database to the schema that this code knows before the service serves, as `MIGRATIONS` says. */
export default fp(
  async function migrations(fastify) {
    const { config, lifecycle, log, db } = fastify
    if (config.MIGRATIONS === 'off') return

    lifecycle.add('migrations', ({ signal, waitFor }) =>
      retry(
        async () => {
          const { pending, unknown } = await migrationState(db)
          if (config.MIGRATIONS === 'check' && pending.length + unknown.length > 0) {
            throw new MigrationError(
              `pending: ${pending.join(', ') || 'none'}; unknown: ${unknown.join(', ') || 'none'}`,
            )
          }
          if (unknown.length > 0) log.warn({ unknown }, 'the database is ahead of this code')
          if (pending.length > 0) await migrate(config, log, signal, waitFor)
        },
        { signal, log, message: 'waiting to migrate' },
      ),
    )
  },
  { name: 'migrations', fastify: '5.x', dependencies: ['env', 'lifecycle', 'database'] },
)

async function migrate(config: Config, log: FastifyBaseLogger, signal: AbortSignal, waitFor: (what: string) => void) {
  const events = {
    waiting() {
      waitFor('migration lock')
      log.info('another process migrates: waiting for its lock')
    },
    locked: () => waitFor('migrations'),
    applied: (migration: string, _: string, durationMs: number) => log.info({ migration, durationMs }, 'migrated'),
  }
  const db = new Kysely<never>({ dialect: migrationDialect(config, events, signal) })
  try {
    for (let attempt = 1; ; attempt++) {
      const { error, results } = await createMigrator(db, events).migrateToLatest()
      if (error === undefined) return
      const failed = results?.find(({ status }) => status === 'Error')?.migrationName
      if ((error as { code?: string }).code === LOCK_NOT_AVAILABLE && attempt < LOCK_ATTEMPTS) {
        log.warn({ migration: failed, attempt }, 'a table is locked: rolled back, trying again')
        await sleep(backoff(attempt), undefined, { signal })
      } else if (reasonOf(error) !== 'error' && !isPermanent(error)) {
        throw error // the connection, not the migration: all is rolled back
      } else {
        throw new MigrationError(
          failed ? `${failed} failed and was rolled back` : 'the migrations folder and the database disagree',
          {
            cause: error,
          },
        )
      }
    }
  } finally {
    await db.destroy()
  }
}
