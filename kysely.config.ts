import { existsSync } from 'node:fs'
import path from 'node:path'
import fastify from 'fastify'
import { Kysely, PostgresDialect } from 'kysely'
import { defineConfig } from 'kysely-ctl'
import env from './src/core/config/env.ts'
import type { Config } from './src/core/config/settings.ts'
import { compose } from './src/core/feature.ts'
import { settings } from './src/core/health/health.ts'
import { createMigrator, migrationPool } from './src/migrations/migrator.ts'
import type { MigrationEvents } from './src/migrations/options.ts'

// Where `npm run dev` put the servers that it started. kysely-ctl has read .env by now; a variable that is set stays.
const developmentServers = path.join(import.meta.dirname, '.local/dev.env')
const named = ['DATABASE_URL', 'DATABASE_URL_FILE', 'POSTGRES_HOST'].some((name) => process.env[name])
if (!named && existsSync(developmentServers)) process.loadEnvFile(developmentServers)

const events: MigrationEvents = {
  waiting: () => console.error('another process migrates: waiting for its lock'),
  adopted: (migration) => console.error(`an earlier release has done ${migration}: recorded`),
  retrying: (migration) => console.error(`a table is locked: ${migration} rolled back, trying again`),
  notice: (message) => console.error(message),
}

/** Validates the settings of these features alone, and only once a command asks the database: `migrate:make` needs none. */
async function load(): Promise<Config> {
  const features = await compose(import('./src/database/index.ts'), import('./src/migrations/index.ts'))
  const app = fastify()
  await app.register(env, { features: [{ name: 'health', settings }, ...features] })
  return app.config
}

let loading: Promise<Config> | undefined
function config(): Promise<Config> {
  loading ??= load()
  return loading
}

export default defineConfig({
  kysely: new Kysely({ dialect: new PostgresDialect({ pool: async () => migrationPool(await config(), events) }) }),
  migrations: {
    migrator: async (db) => createMigrator(db, { ...events, schema: (await config()).DATABASE_SCHEMA }),
    getMigrationPrefix: timestamp,
  },
  seeds: { getSeedPrefix: timestamp },
})

/** UTC, so that the names of files made in different time zones sort by their age. */
function timestamp(): string {
  return `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}_`
}
