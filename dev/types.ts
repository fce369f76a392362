/** `npm run types`: src/database/types.ts from the migrated database, of `.env` or of a running `npm run dev`. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Config } from '../src/core/config/settings.ts'
import { BoundClient } from '../src/database/binding.ts'
import { connectionOptions } from '../src/database/connection.ts'
import { problemOf, splitUrl } from '../src/database/url.ts'

const ROOT = path.join(import.meta.dirname, '..')
const CODEGEN = path.join(ROOT, 'node_modules/kysely-codegen/dist/cli/bin.js')

for (const name of ['.env', '.local/dev.env']) {
  const file = path.join(ROOT, name)
  if (existsSync(file)) process.loadEnvFile(file)
}
const { DATABASE_URL, DATABASE_SCHEMA } = process.env
if (!DATABASE_URL) {
  console.error('There is no DATABASE_URL: start npm run dev, or name a database that is migrated')
  process.exit(1)
}
const problem = problemOf(DATABASE_URL)
if (problem) {
  console.error(`DATABASE_URL ${problem}`)
  process.exit(1)
}
const options = connectionOptions({ ...process.env, DATABASE_URL, DATABASE_SCHEMA: '' } as unknown as Config)
const tables = ['--dialect', 'postgres', '--out-file', 'src/database/types.ts']
// As src/database/parsers.ts has it.
const texts = ['--date-parser', 'string', '--type-mapping', '{"timestamp":"string"}']
const { schema, foreign } = await schemas()
// What an extension brings is not the service's, and a schema with migrations of its own is another service's.
const others = ['--exclude-pattern', `{${['*timescaledb_*', ...foreign].map((name) => `${name}.*`)},}`]
// A query names no schema where the search_path leads to the table.
const own = ['--default-schema', schema]
const { status } = spawnSync(
  process.execPath,
  [CODEGEN, ...tables, ...texts, ...others, ...own, ...process.argv.slice(2)],
  {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, DATABASE_URL: verifiedUrl(DATABASE_URL), NODE_TLS_REJECT_UNAUTHORIZED: '1' },
  },
)
process.exitCode = status ?? 1

/** The same database in the words of pg, which kysely-codegen hands the URL to: its default is clear text. */
function verifiedUrl(url: string): string {
  const { address, parameters } = splitUrl(url)
  if (!options.ssl) return url
  parameters.delete('ssl')
  if (parameters.get('sslrootcert') === 'system') parameters.delete('sslrootcert')
  if (parameters.get('sslmode') === 'verify-ca') parameters.set('uselibpqcompat', 'true')
  else parameters.set('sslmode', 'verify-full')
  return `${address}?${parameters}`
}

async function schemas(): Promise<{ schema: string; foreign: string[] }> {
  const { Client = BoundClient } = options
  const client = new Client(options)
  await client.connect()
  const { rows } = await client.query(
    `select own as schema, array(select nspname::text from pg_class join pg_namespace n on n.oid = relnamespace
              where relname = 'kysely_migration' and nspname <> own) as foreign
       from coalesce($1, current_schema()) as own`,
    [DATABASE_SCHEMA || null],
  )
  await client.end()
  return rows[0]
}
