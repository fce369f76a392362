import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import fastify from 'fastify'
import { Kysely, PostgresDialect } from 'kysely'
import { defineConfig } from 'kysely-ctl'
import env from './src/core/config/env.ts'
import type { Config } from './src/core/config/settings.ts'
import { compose } from './src/core/feature.ts'
import { settings } from './src/core/health/health.ts'
import { createMigrator, migrationPool } from './src/migrations/migrator.ts'
import { timestamp } from './src/migrations/names.ts'
import type { MigrationEvents } from './src/migrations/options.ts'

// Where `npm run dev` put the servers that it started. kysely-ctl has read .env by now; a variable that is set stays.
const developmentServers = path.join(import.meta.dirname, '.local/dev.env')
const named = ['DATABASE_URL', 'DATABASE_URL_FILE', 'POSTGRES_HOST'].some((name) => process.env[name])
const isDevelopment = !named && existsSync(developmentServers)
if (isDevelopment) process.loadEnvFile(developmentServers)

/** For a file that was edited after it was applied, so that its down does not fit. */
const wayOut = isDevelopment ? 'Where it was edited since it was applied: npm run reset' : undefined

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
    migrator: async (db) => createMigrator(db, { ...events, wayOut, schema: (await config()).DATABASE_SCHEMA }),
    getMigrationPrefix: prefix,
  },
  seeds: { getSeedPrefix: prefix },
})

/**
 * Throws for a name or an extension that boot would refuse of a migration, before kysely-ctl makes the file. It takes the
 * name as it is given, and has no other hook for it.
 */
function prefix(): string {
  const options = {
    config: { type: 'string', short: 'c' },
    cwd: { type: 'string' },
    environment: { type: 'string', short: 'e' },
    extension: { type: 'string', short: 'x', default: 'ts' },
  } as const
  const { positionals, values } = parseArgs({ options, strict: false, allowPositionals: true })
  const words = positionals.findIndex((word) => word.endsWith('make')) + 1
  const name = positionals.slice(words).join(' ')
  if (!/^[\w-]+\.ts$/.test(`${name}.${values.extension}`)) {
    const command = [...positionals.slice(0, words), name.replace(/[^\w-]+/g, '_')].join(' ')
    throw new Error(`A file is named <UTC timestamp>_<what_it_does>.ts. Run: npx kysely ${command}`)
  }
  return `${timestamp()}_`
}
