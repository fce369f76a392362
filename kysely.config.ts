import { existsSync } from 'node:fs'
import path from 'node:path'
import fastify from 'fastify'
import { Kysely } from 'kysely'
import { defineConfig } from 'kysely-ctl'
import { createMigrator, type MigrationEvents, migrationDialect } from './src/database/migrator.ts'
import env from './src/plugins/env.ts'

// Where `npm run dev` put the servers that it started. kysely-ctl has read .env by now; a variable that is set stays.
const developmentServers = path.join(import.meta.dirname, '.local/dev.env')
const named = ['DATABASE_URL', 'DATABASE_URL_FILE', 'POSTGRES_HOST'].some((name) => process.env[name])
if (!named && existsSync(developmentServers)) process.loadEnvFile(developmentServers)

const app = fastify()
await app.register(env)

const events: MigrationEvents = {
  waiting: () => console.error('another process migrates: waiting for its lock'),
  retrying: (migration) => console.error(`a table is locked: ${migration} rolled back, trying again`),
  notice: (message) => console.error(message),
}

export default defineConfig({
  kysely: new Kysely({ dialect: migrationDialect(app.config, events) }),
  migrations: {
    migrator: (db) => createMigrator(db, events),
    getMigrationPrefix: timestamp,
  },
  seeds: { getSeedPrefix: timestamp },
})

/** UTC, so that the names of files made in different time zones sort by their age. */
function timestamp(): string {
  return `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}_`
}
