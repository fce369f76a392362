import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Kysely, PostgresDialect } from 'kysely'
import { defineConfig } from 'kysely-ctl'
import { loadDevelopment } from './src/core/config/env-file.ts'
import { commandConfig } from './src/migrations/command-config.ts'
import { createMigrator, migrationPool } from './src/migrations/migrator.ts'
import { timestamp } from './src/migrations/names.ts'
import type { MigrationEvents } from './src/migrations/options.ts'

const ROOT = import.meta.dirname
const OPTIONS = {
  config: { type: 'string', short: 'c' },
  cwd: { type: 'string' },
  environment: { type: 'string', short: 'e' },
  extension: { type: 'string', short: 'x', default: 'ts' },
} as const
const { positionals, values } = parseArgs({ options: OPTIONS, strict: false, allowPositionals: true })

// At once, for seeds that read process.env. An error comes once a command asks the database: `migrate:make` does not.
const variables = Promise.try(readVariables)
variables.catch(() => {})

/** For a file that was edited after it was applied, so that its down does not fit. */
const WAY_OUT = 'Where it was edited since it was applied: npm run reset'

const events: MigrationEvents = {
  waiting: () => console.error('another process migrates: waiting for its lock'),
  adopted: (migration) => console.error(`an earlier release has done ${migration}: recorded`),
  retrying: (migration) => console.error(`a table is locked: ${migration} rolled back, trying again`),
  notice: (message) => console.error(message),
}

let loading: ReturnType<typeof commandConfig> | undefined
function config() {
  loading ??= variables.then(() => commandConfig())
  return loading
}

/**
 * Whether the database is that of `npm run dev`. Replaces what kysely-ctl has read by now: its c12 expands `$NAME`, as the
 * service does not, and reads `.env.NAME` for `-e NAME`. This can go when kysely-ctl has a switch for both.
 */
function readVariables(): boolean {
  const { __c12_dotenv_vars__: taken } = globalThis as { __c12_dotenv_vars__?: Map<NodeJS.ProcessEnv, Set<string>> }
  for (const name of taken?.get(process.env) ?? []) delete process.env[name]
  const other = `.env.${values.environment}`
  if (values.environment && existsSync(path.join(ROOT, other)))
    throw new Error(`${other} is not read: set its variables in the shell`)
  return loadDevelopment(ROOT)
}

export default defineConfig({
  kysely: new Kysely({ dialect: new PostgresDialect({ pool: async () => migrationPool(await config(), events) }) }),
  migrations: {
    migrator: async (db) => {
      const wayOut = (await variables) ? WAY_OUT : undefined
      return createMigrator(db, { ...events, wayOut, schema: (await config()).DATABASE_SCHEMA })
    },
    getMigrationPrefix: prefix,
  },
  seeds: { getSeedPrefix: prefix },
})

/**
 * Throws for a name or an extension that boot would refuse of a migration, before kysely-ctl makes the file. It takes the
 * name as it is given, and has no other hook for it.
 */
function prefix(): string {
  const words = positionals.findIndex((word) => word.endsWith('make')) + 1
  const name = positionals.slice(words).join(' ')
  if (!/^[\w-]+\.ts$/.test(`${name}.${values.extension}`)) {
    const command = [...positionals.slice(0, words), name.replace(/[^\w-]+/g, '_')].join(' ')
    throw new Error(`A file is named <UTC timestamp>_<what_it_does>.ts. Run: npx kysely ${command}`)
  }
  return `${timestamp()}_`
}
