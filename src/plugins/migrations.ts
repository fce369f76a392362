import fp from 'fastify-plugin'
import { Kysely } from 'kysely'
import type { MigrationResultSet } from 'kysely/migration'
import { NotRolledBackError } from '../database/concurrently.ts'
import {
  createMigrator,
  MigrationError,
  type MigrationOptions,
  type MigrationState,
  migrationDialect,
  migrationState,
} from '../database/migrator.ts'
import { isPermanent, reasonOf } from '../reasons.ts'
import { retry } from '../retry.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What boot has found so far, and left; `undefined` before that, and if `MIGRATIONS` is off. */
    migrations: { state: MigrationState | undefined }
  }
}

/**
 * Brings the database to the schema that this code knows before the service serves, as `MIGRATIONS` says.
 * `folder`: the project's migrations/ unless given.
 */
export default fp<{ folder?: string }>(
  async function migrations(fastify, { folder }) {
    const { config, lifecycle, log, db } = fastify
    fastify.decorate('migrations', { state: undefined })
    if (config.MIGRATIONS === 'off') return

    async function migrate(signal: AbortSignal, waitFor: (what: string) => void): Promise<void> {
      const options: MigrationOptions = {
        folder,
        signal,
        waiting() {
          waitFor('migration lock')
          log.info('another process migrates: waiting for its lock')
        },
        locked: () => waitFor('migrations'),
        retrying: (migration, attempt) =>
          log.warn({ migration, attempt }, 'a table is locked: rolled back, trying again'),
        applied: (migration, durationMs) => log.info({ migration, durationMs }, 'migrated'),
        notice: (notice) => log.info({ notice }, 'the database has a notice'),
      }
      await using db = new Kysely<never>({ dialect: migrationDialect(config, options) })
      explain(await createMigrator(db, options).migrateToLatest())
    }

    lifecycle.add('migrations', ({ signal, waitFor }) =>
      retry(
        async () => {
          fastify.migrations.state = await migrationState(db, folder)
          const { pending, unknown } = fastify.migrations.state
          if (config.MIGRATIONS === 'check' && pending.length + unknown.length > 0) {
            throw new MigrationError(
              `pending: ${pending.join(', ') || 'none'}; unknown: ${unknown.join(', ') || 'none'}`,
            )
          }
          if (unknown.length > 0) log.warn({ unknown }, 'the database is ahead of this code')
          if (pending.length === 0) return
          await migrate(signal, waitFor)
          fastify.migrations.state = await migrationState(db, folder)
        },
        { signal, log, message: 'waiting to migrate' },
      ),
    )
  },
  { name: 'migrations', fastify: '5.x', dependencies: ['env', 'lifecycle', 'database'] },
)

/** Throws what is to be known of a failure: the migration's name, and whether anything of it is left. */
function explain({ error, results }: MigrationResultSet): void {
  if (error === undefined) return
  const failed = results?.find(({ status }) => status === 'Error')?.migrationName
  // The connection, not the migration.
  if (reasonOf(error) !== 'error' && !(failed && isPermanent(error))) throw error
  if (error instanceof MigrationError) throw error
  if (!failed) throw new MigrationError('no migration was run', { cause: error })
  const rolledBack = error instanceof NotRolledBackError ? 'not rolled back' : 'rolled back'
  throw new MigrationError(`${failed} failed and was ${rolledBack}`, { cause: error })
}
