/**
 * `npm run dev`: the service, reloaded on change, with a PostgreSQL and a Redis of its own where none is given.
 * Arguments, such as `--inspect`, are flags of Node for the service alone.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadEnvFile, namesDatabase } from '../src/core/config/env-file.ts'
import { service } from '../src/core/service.ts'
import { parts } from '../src/redis/parts.ts'
import { Changes } from './changes.ts'
import { developmentDatabases } from './databases.ts'
import { openFolder } from './managed-folder.ts'
import { freePort } from './ports.ts'
import { startPostgres } from './postgres.ts'
import { postgresVersion } from './postgres-binaries.ts'
import { startRedis } from './redis.ts'
import { RedisMissingError } from './redis-binary.ts'
import { place, prettyLog, UNTOLD } from './terminal.ts'

const ROOT = fileURLToPath(import.meta.resolve('..'))
const LOCAL = join(ROOT, '.local')
/** Where a second shell finds the servers: kysely.config.ts reads it. */
const ENV_FILE = join(LOCAL, 'dev.env')
/** What the service is started again for; the last one is written anew by `npm run reset`. */
const WATCHED = [join(ROOT, 'src'), join(ROOT, 'package.json'), ENV_FILE]
/** What development switches on, and where to look at it. */
const SWITCHED_ON: [setting: string, name: string, route: string][] = [
  ['API_DOCS', 'its API', '/docs'], // the description of the API
]
/** Longer than the service takes to drain by itself. */
const SERVICE_STOP_MS = 20_000

/** In NODE_OPTIONS these attach a debugger to npm, which takes the port before the service can. */
const INSPECT = /(?<=^|\s)--inspect(-brk|-wait|-port)?(=\S*)?(?=\s|$)/g

const say = (text: string) => process.stdout.write(`${text}\n`)
const isSet = (...names: string[]) => names.some((name) => process.env[name])

// What is deferred last ends first: the service drains while its servers run.
const running = new AsyncDisposableStack()
let leaving = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void leave(0))
// A closed terminal takes no more output, and is no reason not to stop in good order.
process.stdout.on('error', () => {})

try {
  await main()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  await leave(1)
}

async function main(): Promise<void> {
  loadEnvFile(ROOT)
  const local = await openFolder('', LOCAL, 'pipe')
  const servers = { ...(await database()), ...(await redis()) }
  writeEnvFile(servers)
  const defaults = Object.fromEntries(SWITCHED_ON.map(([setting]) => [setting, 'true']))
  const env: NodeJS.ProcessEnv = { ...defaults, ...process.env, ...servers }
  say(`database  ${servers['DATABASE_URL'] ?? given('DATABASE_URL', 'DATABASE_URL_FILE', 'POSTGRES_HOST')}`)
  say(`redis     ${servers['REDIS_URL'] ?? given('REDIS_URL')}`)
  say(`service   http://localhost:${env['PORT'] || 3000}/health`)
  for (const [setting, name, route] of SWITCHED_ON) {
    if (env[setting] === 'true') say(`${name.padEnd(10)}http://localhost:${env['PORT'] || 3000}${route}`)
  }
  if (env['NODE_OPTIONS']?.match(INSPECT)) {
    env['NODE_OPTIONS'] = env['NODE_OPTIONS'].replace(INSPECT, '')
    say('NODE_OPTIONS debugs npm. To debug the service: npm run dev -- --inspect')
  }
  if (leaving) return
  running.defer(() => local.close())
  local.output?.pipe(prettyLog(process.stdout.isTTY)).pipe(process.stdout)
  const changes = await Changes.of(WATCHED)
  running.defer(() => changes.close())
  while (!leaving) {
    // Before it starts, because a file that changes meanwhile may have been read already.
    const changed = changes.next()
    const { exited } = await local.start({
      argv: [process.execPath, ...process.argv.slice(2), 'src/server.ts', local.mark],
      cwd: ROOT,
      env,
      output: 'stdout',
      stopSignal: 'SIGTERM',
      stopTimeoutMs: SERVICE_STOP_MS,
      remove: ENV_FILE,
    })
    let stopping = false
    void exited.then((reason) => {
      if (!stopping && !leaving) say(`the service ended (${reason}): waiting for a change; Ctrl-C stops the rest`)
    })
    await changed
    stopping = true
    local.stop('SIGTERM')
    await exited
  }
}

/** A password of the user's own is no text for a terminal, which others see, and which may be recorded. */
function given(url: string, ...others: string[]): string {
  const value = process.env[url]
  return value ? place(value) : (others.map((name) => process.env[name]).find(Boolean) ?? UNTOLD)
}

async function database(): Promise<Record<string, string>> {
  if (namesDatabase(process.env)) return {}
  const version = postgresVersion(process.env['PG_VERSION'])
  const directory = join(LOCAL, `postgres-${version}`)
  const server = await startPostgres({ version, directory, onExit: (reason) => died('PostgreSQL', reason) })
  running.defer(() => server.close())
  return developmentDatabases(server.url, service.name)
}

async function redis(): Promise<Record<string, string>> {
  if (isSet('REDIS_URL', 'REDIS_URL_FILE', ...parts.map(({ setting }) => setting))) return {}
  try {
    const directory = join(LOCAL, 'redis-data')
    const server = await startRedis({ directory, onExit: (reason) => died('Redis', reason) })
    running.defer(() => server.close())
    return { REDIS_URL: server.url, TEST_REDIS_URL: `${server.url}/1` }
  } catch (error) {
    if (!(error instanceof RedisMissingError)) throw error
    say(`${error.message}\nThe service runs without Redis, degraded.`)
    // A port that nobody listens on: the default could be a Redis of something else.
    return { REDIS_URL: `redis://127.0.0.1:${await freePort()}` }
  }
}

function writeEnvFile(variables: Record<string, string>): void {
  // One that a crash of the machine left has the mode it was made with.
  rmSync(ENV_FILE, { force: true })
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`)
  if (lines.length > 0) writeFileSync(ENV_FILE, lines.join(''), { mode: 0o600 })
}

function died(server: string, reason: string): void {
  if (!leaving) say(`${server} ended by itself (${reason}). The service runs on without it; Ctrl-C stops the rest.`)
}

async function leave(code: number): Promise<void> {
  if (leaving) return
  leaving = true
  await running.disposeAsync()
  process.exit(code)
}
