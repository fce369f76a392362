import fp from 'fastify-plugin'
import { Kysely, type QueryExecutorProvider } from 'kysely'
import type { MigrationResultSet } from 'kysely/migration'
import { isPermanent, reasonOf } from '../core/reasons.ts'
import { retry } from '../core/retry.ts'
import { NotRolledBackError } from './concurrently.ts'
import { MigrationError } from './errors.ts'
import { createMigrator, type MigrationState, migrationDialect, migrationState } from './migrator.ts'
import type { MigrationOptions } from './options.ts'
import { schemaOf, whereabouts } from './tables.ts'

declare module 'fastify' {
  interface FastifyInstance {
    migrations: {
      /** What boot has found so far, and left; `undefined` before that, and if `MIGRATIONS` is off. */
      state: MigrationState | undefined
      /** Compares the folder with the database now. */
      compare(): Promise<MigrationState>
    }
  }
}

/**
 * Brings the database to the schema that this code knows before the service serves, as `MIGRATIONS` says.
 * `folder`: the project's migrations/ unless given.
 */
export default fp<{ folder?: string }>(
  async function migrations(fastify, { folder }) {
    const { config, lifecycle, log, db } = fastify
    const { DATABASE_SCHEMA: schema } = config
    const compare = () => migrationState(db, { folder, schema })
    const place = async (of: QueryExecutorProvider) => whereabouts(of, await schemaOf(of, schema))
    fastify.decorate('migrations', { state: undefined, compare })
    if (config.MIGRATIONS === 'off') return

    /** Returns where it has. */
    async function migrate(signal: AbortSignal, waitFor: (what: string) => void): Promise<string> {
      const options: MigrationOptions = {
        folder,
        schema,
        signal,
        waiting() {
          waitFor('migration lock')
          log.info('another process migrates: waiting for its lock')
        },
        locked: () => waitFor('migrations'),
        adopted: (migration) => log.info({ migration }, 'an earlier release has done this migration'),
        retrying: (migration, attempt) =>
          log.warn({ migration, attempt }, 'a table is locked: rolled back, trying again'),
        applied: (migration, durationMs) => log.info({ migration, durationMs }, 'migrated'),
        notice: (notice) => log.info({ notice }, 'the database has a notice'),
      }
      await using db = new Kysely<never>({ dialect: migrationDialect(config, options) })
      explain(await createMigrator(db, options).migrateToLatest())
      return await place(db)
    }

    lifecycle.add('migrations', ({ signal, waitFor }) =>
      retry(
        async () => {
          fastify.migrations.state = await compare()
          const { pending, unknown } = fastify.migrations.state
          if (config.MIGRATIONS === 'check' && pending.length + unknown.length > 0) {
            throw new MigrationError(
              `pending: ${pending.join(', ') || 'none'}; unknown: ${unknown.join(', ') || 'none'}`,
            )
          }
          if (pending.length > 0) {
            const migrated = await migrate(signal, waitFor)
            fastify.migrations.state = await compare()
            const missed = fastify.migrations.state.pending
            if (missed.length > 0) {
              throw new MigrationError(
                `the service does not see what was migrated. It looks as ${await place(db)}, for ${missed.join(', ')}; ` +
                  `they were applied as ${migrated}`,
              )
            }
          }
          if (unknown.length > 0) log.warn({ unknown }, 'the database is ahead of this code')
        },
        { signal, log, message: 'waiting to migrate' },
      ),
    )
  },
  { name: 'migrations', fastify: '5.x', dependencies: ['env', 'lifecycle', 'database'] },
)

/** Throws an error that names the failed migration and says whether anything of it is left. */
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
