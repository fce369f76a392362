import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import { Kysely } from 'kysely'
import type { Config } from '../config.ts'
import { NotRolledBackError } from '../database/concurrently.ts'
import { createMigrator, migrationDialect, migrationState } from '../database/migrator.ts'
import { isPermanent, reasonOf } from '../reasons.ts'
import { retry } from '../retry.ts'

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
    retrying: (migration: string | undefined, attempt: number) =>
      log.warn({ migration, attempt }, 'a table is locked: rolled back, trying again'),
    applied: (migration: string, _: string, durationMs: number) => log.info({ migration, durationMs }, 'migrated'),
  }
  const db = new Kysely<never>({ dialect: migrationDialect(config, events, signal) })
  try {
    const { error, results } = await createMigrator(db, events, signal).migrateToLatest()
    if (error === undefined) return
    if (reasonOf(error) !== 'error' && !isPermanent(error)) throw error // the connection, not the migration
    const failed = results?.find(({ status }) => status === 'Error')?.migrationName
    if (!failed) throw new MigrationError('the migrations folder and the database disagree', { cause: error })
    const rolledBack = error instanceof NotRolledBackError ? 'not rolled back' : 'rolled back'
    throw new MigrationError(`${failed} failed and was ${rolledBack}`, { cause: error })
  } finally {
    await db.destroy()
  }
}
