/**
 * `npm test`: runs tap, with its arguments, on a PostgreSQL and a Redis of its own where none is given.
 *
 *     npm test                                all, with the coverage that package.json demands
 *     npm test -- FILE or FOLDER …            those alone
 *     npm test -- --coverage FILE …           and shows the coverage of what they load
 *     npm test -- --watch [FILE …]            again whenever a file changes, on the same servers
 *     npm test -- --inspect-brk FILE          one file, in node itself, which waits for a debugger
 */
import { randomBytes } from 'node:crypto'
import { existsSync, globSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kysely, PostgresDialect } from 'kysely'
import { Client, Pool } from 'pg'
import { features } from '../src/app.ts'
import { settingsOf } from '../src/core/config/env.ts'
import { EmptyMigrationError } from '../src/migrations/errors.ts'
import { createMigrator } from '../src/migrations/migrator.ts'
import { ownedDatabases } from './databases.ts'
import { openFolder } from './managed-folder.ts'
import { createTemplate, startPostgres, TEMPLATE_VARIABLE } from './postgres.ts'
import { type PostgresVersion, postgresVersion } from './postgres-binaries.ts'
import { startRedis } from './redis.ts'
import { buildService, buildTap } from './test-builds.ts'
import { watch } from './test-watch.ts'

const ROOT = fileURLToPath(import.meta.resolve('..'))
const TAP = join(ROOT, 'node_modules', '.bin', 'tap')
const SUMMARY = join(ROOT, '.tap/report/coverage-summary.json')

// What is deferred last ends first.
const running = new AsyncDisposableStack()
const leaves = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void leave(1))

try {
  const args = process.argv.slice(2)
  const code = await (args.includes('--watch') ? again(args.filter((arg) => arg !== '--watch')) : once(args))
  await leave(code)
} catch (error) {
  // What is cut off by leaving is no news.
  if (!leaves.signal.aborted) process.stderr.write(`${(error as Error).message}\n`)
  await leave(1)
}

/** Runs them in processes of their own, which find the servers of this one. */
async function again(args: string[]): Promise<number> {
  await servers(postgresVersion(process.env['PG_VERSION']), process.env)
  await watch(ROOT, [process.execPath, ...process.execArgv, import.meta.filename, ...args], leaves.signal)
  return 0
}

async function once(args: string[]): Promise<number> {
  const files = args.flatMap(testFiles)
  const flags = args.filter((arg) => testFiles(arg).length === 0)
  const version = postgresVersion(process.env['PG_VERSION'])
  const env = withoutSettings(process.env)
  const [, TEST_BUILD] = await Promise.all([servers(version, env), built(), buildTap(ROOT)])
  const TEST_DATABASE_TEMPLATE = await migratedTemplate(String(env['TEST_DATABASE_URL']))
  const folder = await openFolder('tap-', undefined, 'inherit')
  running.defer(() => folder.close())
  rmSync(SUMMARY, { force: true })
  const { exited } = await folder.start({
    argv: command(flags, files),
    cwd: ROOT,
    // A file that tap does not run has half a minute by default, which is no time for whoever debugs it.
    env: { TAP_TIMEOUT: String(24 * 60 * 60), ...env, PG_VERSION: String(version), TEST_DATABASE_TEMPLATE, TEST_BUILD },
    output: 'stdout',
    stopSignal: 'SIGTERM',
  })
  const code = Number(await exited)
  if (files.length === 0) tellCoverage()
  return Number.isNaN(code) ? 1 : code // ended by a signal
}

/** The test files that an argument names: those of a folder, else itself, also as a pattern. */
function testFiles(arg: string): string[] {
  if (arg.endsWith('.ts')) return [arg]
  const isFolder = !arg.startsWith('-') && statSync(join(ROOT, arg), { throwIfNoEntry: false })?.isDirectory()
  return isFolder ? globSync('**/*.test.ts', { cwd: join(ROOT, arg) }).map((file) => join(arg, file)) : []
}

/** tap with these arguments; or node with the one file that is to be debugged: a test is a program. */
function command(flags: string[], files: string[]): string[] {
  const inspect = flags.filter((flag) => flag.startsWith('--inspect'))
  if (inspect.length > 0) return [process.execPath, ...inspect, ...files]
  const rest = flags.filter((flag) => flag !== '--coverage')
  return [process.execPath, TAP, ...coverageFlags(flags, files), ...rest, ...files]
}

function demanded(): number {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).coverage
}

/** Coverage is demanded of all tests together: of some it says nothing, unless asked for. */
function coverageFlags(flags: string[], files: string[]): string[] {
  const all = files.length === 0
  if (!all && !flags.includes('--coverage')) return ['--disable-coverage']
  const least = all ? demanded() : 0
  const kinds = ['lines', 'branches', 'functions', 'statements'].map((kind) => `--${kind}=${least}`)
  const reports = ['--coverage-report=text', '--coverage-report=json-summary']
  return [...kinds, ...reports, ...(all ? [] : ['--show-full-coverage'])]
}

/** The table that tap prints does not say what is demanded, nor where. */
function tellCoverage(): void {
  if (!existsSync(SUMMARY)) return
  const { total } = JSON.parse(readFileSync(SUMMARY, 'utf8')) as { total: Record<string, { pct: number }> }
  for (const kind of ['lines', 'branches', 'functions', 'statements']) {
    const percent = total[kind]?.pct ?? 0
    if (percent < demanded()) {
      process.stderr.write(`coverage: ${percent} % of ${kind}; "coverage" in package.json demands ${demanded()} %\n`)
    }
  }
}

/** The folder of the build. Without one the tests that need it fail, each, and those that are being worked on can pass. */
async function built(): Promise<string | undefined> {
  try {
    return await buildService(ROOT)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return undefined
  }
}

/** Starts what `env` does not name, and says there where the tests find it. */
async function servers(version: PostgresVersion, env: NodeJS.ProcessEnv): Promise<void> {
  if (!process.env[TEMPLATE_VARIABLE]) {
    const template = await createTemplate(version)
    running.defer(() => template.close())
    process.env[TEMPLATE_VARIABLE] = template.folder
  }
  env[TEMPLATE_VARIABLE] = process.env[TEMPLATE_VARIABLE]
  const [database, redis] = await Promise.all([
    env['TEST_DATABASE_URL'] || ownPostgres(),
    env['TEST_REDIS_URL'] || ownRedis(),
  ])
  Object.assign(env, { TEST_DATABASE_URL: database, TEST_REDIS_URL: redis })
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
  // The tests of the rest can run.
  if (error instanceof EmptyMigrationError) process.stderr.write(`${error.message}\n`)
  else if (error) throw error
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

async function leave(code: number): Promise<void> {
  if (leaves.signal.aborted) return
  leaves.abort()
  await running.disposeAsync()
  process.exit(code)
}
