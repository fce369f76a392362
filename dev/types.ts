/** `npm run types`: src/database/types.ts from the migrated database, of `.env` or of a running `npm run dev`. */
import path from 'node:path'
import { Kysely, PostgresDialect, sql } from 'kysely'
import { Cli, generate, getDialect, Logger } from 'kysely-codegen'
import { Pool } from 'pg'
import { loadDevelopment } from '../src/core/config/env-file.ts'
import type { Config } from '../src/core/config/settings.ts'
import { connectionOptions } from '../src/database/connection.ts'
import { commandConfig } from '../src/migrations/command-config.ts'

const ROOT = path.join(import.meta.dirname, '..')
process.chdir(ROOT)

try {
  loadDevelopment(ROOT)
  await writeTypes(await commandConfig())
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

async function writeTypes(config: Config): Promise<void> {
  const pool = new Pool({
    ...connectionOptions(config),
    max: 1,
    connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
  })
  await using db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  const { schema, foreign } = await schemas(db, config.DATABASE_SCHEMA)
  const options = new Cli().parseOptions(process.argv.slice(2))
  await generate({
    outFile: 'src/database/types.ts',
    // A query names no schema where the search_path leads to the table.
    defaultSchemas: [schema],
    // What an extension brings is not the service's, and a schema with migrations of its own is another service's.
    excludePattern: `{${['*timescaledb_*', ...foreign].map((name) => `${name}.*`)},}`,
    // As src/database/parsers.ts has it.
    typeMapping: { timestamp: 'string' },
    logger: new Logger(),
    ...options,
    db,
    dialect: getDialect('postgres', { dateParser: 'string', ...options }),
  })
}

async function schemas(db: Kysely<unknown>, configured?: string): Promise<{ schema: string; foreign: string[] }> {
  const query = sql<{ schema: string; foreign: string[] }>`
    select own as schema, array(select nspname::text from pg_class join pg_namespace n on n.oid = relnamespace
             where relname = 'kysely_migration' and nspname <> own) as foreign
      from coalesce(${configured ?? null}, current_schema()) as own`
  const { rows } = await query.execute(db)
  return rows[0] as { schema: string; foreign: string[] }
}
