/**
 * `npm run reset`: empties the database of `npm run dev`, whether that runs or not, migrates it and runs the seeds. A
 * database that `.env` or the shell names is never touched.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { Client } from 'pg'
import { loadEnvFile, namesDatabase } from '../src/core/config/env-file.ts'
import { service } from '../src/core/service.ts'
import { developmentDatabases, emptyDatabase } from './databases.ts'
import { alone } from './lock.ts'
import { startPostgres } from './postgres.ts'
import { postgresVersion } from './postgres-binaries.ts'

const ROOT = fileURLToPath(import.meta.resolve('..'))
const LOCAL = join(ROOT, '.local')
/** What a running `npm run dev` has written. */
const ENV_FILE = join(LOCAL, 'dev.env')
const KYSELY = join(ROOT, 'node_modules/kysely-ctl/dist/bin.mjs')

interface Database {
  superuserUrl: string
  env: NodeJS.ProcessEnv
}

const running = new AsyncDisposableStack()
// The server ends with this process; what is cut off can be run again.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void leave(1))

try {
  await reset()
  await leave(0)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  await leave(1)
}

async function reset(): Promise<void> {
  loadEnvFile(ROOT)
  if (namesDatabase(process.env))
    throw new Error('.env or the shell names a database: npm run reset empties that of npm run dev alone, in .local')
  await alone(join(LOCAL, 'reset'), renew)
}

async function renew(): Promise<void> {
  const { superuserUrl, env } = (await ofRunning()) ?? (await ofStopped())
  await emptyDatabase(superuserUrl, service.name, service.name, `${service.name}_owner`)
  try {
    kysely('migrate:latest', env)
    if (existsSync(join(ROOT, 'seeds'))) kysely('seed:run', env)
  } finally {
    // The service starts again when this file changes, also one that had ended because it could not migrate.
    if (existsSync(ENV_FILE)) utimesSync(ENV_FILE, new Date(), new Date())
  }
}

/** Undefined when none runs, also if a crash of the machine has left its file. */
async function ofRunning(): Promise<Database | undefined> {
  if (!existsSync(ENV_FILE)) return undefined
  const env = parseEnv(readFileSync(ENV_FILE, 'utf8'))
  const { DATABASE_MIGRATION_URL: url } = env
  if (!url) return undefined
  const client = new Client(url)
  try {
    await client.connect()
    const { rows } = await client.query("select current_setting('server_version_num')::int / 10000 as version")
    const password = readFileSync(join(LOCAL, `postgres-${rows[0].version}`, 'password'), 'utf8').trim()
    const superuser = { username: 'postgres', password, pathname: 'postgres' }
    return { superuserUrl: Object.assign(new URL(url), superuser).href, env }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return undefined
    throw error
  } finally {
    await client.end()
  }
}

async function ofStopped(): Promise<Database> {
  const version = postgresVersion(process.env['PG_VERSION'])
  const server = await startPostgres({ version, directory: join(LOCAL, `postgres-${version}`) })
  running.defer(() => server.close())
  return { superuserUrl: server.url, env: await developmentDatabases(server.url, service.name) }
}

/** Throws when it fails; it has said why. */
function kysely(command: string, env: NodeJS.ProcessEnv): void {
  const options = { cwd: ROOT, env: { ...process.env, ...env }, stdio: 'inherit' } as const
  const { status } = spawnSync(process.execPath, [KYSELY, command, '--no-outdated-check'], options)
  if (status !== 0) throw new Error(`kysely ${command} failed`)
}

async function leave(code: number): Promise<void> {
  await running.disposeAsync()
  process.exit(code)
}
