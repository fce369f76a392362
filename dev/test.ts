/** `npm test`: runs tap, with its arguments, on a PostgreSQL and a Redis of its own where none is given. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Kysely, PostgresDialect } from 'kysely'
import { Client, Pool } from 'pg'
import { features } from '../src/app.ts'
import { settingsOf } from '../src/core/config/env.ts'
import { createMigrator } from '../src/migrations/migrator.ts'
import { ownedDatabases } from './databases.ts'
import { openFolder } from './managed-folder.ts'
import { createTemplate, startPostgres, TEMPLATE_VARIABLE } from './postgres.ts'
import { type PostgresVersion, postgresVersion } from './postgres-binaries.ts'
import { startRedis } from './redis.ts'

const ROOT = fileURLToPath(import.meta.resolve('..'))
const TAP = join(ROOT, 'node_modules', '.bin', 'tap')

// What is deferred last ends first.
const running = new AsyncDisposableStack()
let leaving = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void leave(1))

try {
  await leave(await main())
} catch (error) {
  // What is cut off by leaving is no news.
  if (!leaving) process.stderr.write(`${(error as Error).message}\n`)
  await leave(1)
}

async function main(): Promise<number> {
  const version = postgresVersion(process.env['PG_VERSION'])
  const [variables] = await Promise.all([
    servers(version),
    // As it is installed, tap has a TypeScript plugin in it, which TypeScript 7 breaks.
    promisify(execFile)(process.execPath, [TAP, 'build'], { cwd: ROOT }),
  ])
  const tap = await openFolder('tap-', undefined, 'inherit')
  running.defer(() => tap.close())
  const TEST_BUILD = await built(join(tap.folder, 'dist'))
  const { exited } = await tap.start({
    argv: [process.execPath, TAP, ...tapArguments(process.argv.slice(2))],
    cwd: ROOT,
    env: { ...withoutSettings(process.env), ...variables, TEST_BUILD },
    output: 'stdout',
    stopSignal: 'SIGTERM',
  })
  const code = Number(await exited)
  return Number.isNaN(code) ? 1 : code // ended by a signal
}

/** The folder of the build. Without one the tests that need it fail, each, and those that are being worked on can pass. */
async function built(dist: string): Promise<string | undefined> {
  try {
    const { build } = await import('./build.ts')
    await build(ROOT, dist)
    return dist
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return undefined
  }
}

/** Where the tests find what they need. */
async function servers(version: PostgresVersion): Promise<NodeJS.ProcessEnv> {
  const template = await createTemplate(version)
  running.defer(() => template.close())
  process.env[TEMPLATE_VARIABLE] = template.folder
  const database = process.env['TEST_DATABASE_URL'] || (await ownPostgres())
  return {
    TEST_DATABASE_URL: database,
    TEST_DATABASE_TEMPLATE: await migratedTemplate(database),
    TEST_REDIS_URL: process.env['TEST_REDIS_URL'] || (await ownRedis()),
    PG_VERSION: String(version),
  }
}

async function ownPostgres(): Promise<string> {
  const server = await startPostgres({ version: postgresVersion(process.env['PG_VERSION']) })
  running.defer(() => server.close())
  const [url = ''] = await ownedDatabases(server.url, 'test', ['test'])
  return url
}

async function ownRedis(): Promise<string> {
  const server = await startRedis()
  running.defer(() => server.close())
  return server.url
}

/** The name of a migrated database, which the tests clone and nobody is connected to. */
async function migratedTemplate(database: string): Promise<string> {
  const name = `test_template_${randomBytes(4).toString('hex')}`
  await query(database, `create database ${name}`)
  running.defer(() => query(database, `drop database ${name} with (force)`))
  const connectionString = Object.assign(new URL(database), { pathname: name }).href
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: new Pool({ connectionString, max: 1 }) }) })
  const { error } = await createMigrator(db).migrateToLatest()
  await db.destroy()
  if (error) throw error
  return name
}

async function query(connectionString: string, sql: string): Promise<void> {
  const client = new Client({ connectionString })
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

/** The tests must not find the development servers, nor depend on what is set in the shell they run from. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const settings = settingsOf(features).properties
  const rest = Object.entries(env).filter(([name]) => !(name in settings) && !/^PG[A-Z]/.test(name))
  return Object.fromEntries(rest)
}

/** Full coverage is demanded of all tests together; of some it says nothing. */
function tapArguments(args: string[]): string[] {
  return args.some((arg) => arg.endsWith('.ts')) ? ['--disable-coverage', ...args] : args
}

async function leave(code: number): Promise<void> {
  if (leaving) return
  leaving = true
  await running.disposeAsync()
  process.exit(code)
}
