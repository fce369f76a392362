import fp from 'fastify-plugin'
import { Kysely, type QueryExecutorProvider } from 'kysely'
import { isPermanent, reasonOf } from '../core/reasons.ts'
import { retry } from '../core/retry.ts'
import { step } from '../core/steps.ts'
import { EmptyMigrationError, MigrationError } from './errors.ts'
import { createMigrator, type MigrationState, migrationDialect, migrationState } from './migrator.ts'
import type { MigrationOptions } from './options.ts'
import { refuseElsewhere, schemaOf, whereabouts } from './tables.ts'

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

    /** Throws when the service's own connection does not see it afterwards. */
    async function migrate(signal: AbortSignal, waitFor: (what: string) => void): Promise<void> {
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
      await using migrating = new Kysely<never>({ dialect: migrationDialect(config, options) })
      const { error } = await createMigrator(migrating, options).migrateToLatest()
      const isUnwritten = error instanceof EmptyMigrationError && config.NODE_ENV !== 'production'
      if (isUnwritten) log.warn({ migration: error.migration }, 'a migration is empty: not applied')
      else throwError(error)
      fastify.migrations.state = await compare()
      const { pending } = fastify.migrations.state
      const missed = pending.filter((name) => !(isUnwritten && name >= error.migration)).join(', ')
      if (!missed) return
      throw new MigrationError(
        `the service does not see what was migrated. It looks as ${await place(db)}, for ${missed}; ` +
          `they were applied as ${await place(migrating)}`,
      )
    }

    lifecycle.add('migrations', ({ signal, waitFor }) =>
      retry(
        async () => {
          fastify.migrations.state = await compare()
          const { pending } = fastify.migrations.state
          if (pending.length > 0 && config.MIGRATIONS === 'check') {
            throw new MigrationError(`pending: ${pending.join(', ')} (looked as ${await place(db)})`)
          }
          if (pending.length > 0) await step('migrations', {}, () => migrate(signal, waitFor))
          if (schema) await refuseElsewhere(db, schema)
          const { unknown } = fastify.migrations.state
          // Also with `check`: a release that is rolled back, or an old pod that starts again in a rollout, must boot.
          if (unknown.length > 0) log.warn({ unknown }, 'the database is ahead of this code')
        },
        { signal, log, message: 'waiting to migrate' },
      ),
    )
  },
  { name: 'migrations', fastify: '5.x', dependencies: ['env', 'lifecycle', 'database'] },
)

/** Throws the error, if there is one. Boot tries again only after an error of the connection. */
function throwError(error: unknown): void {
  if (error === undefined) return
  if (error instanceof MigrationError || isPermanent(error) || reasonOf(error) !== 'error') throw error
  throw new MigrationError('no migration was run', { cause: error })
}
