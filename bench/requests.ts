/**
 * `npm run soak:requests -- ROUNDS` (10): what requests see of faults that leave the server itself well, and what the
 * probes say meanwhile. Prints the worst round of each fault, as a table for docs/reliability.md.
 */
import { spawn } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { freePort } from '../dev/ports.ts'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { startPgbouncer } from '../test/support/pgbouncer-server.ts'
import { TcpProxy } from '../test/support/tcp-proxy.ts'

const rounds = Number(process.argv[2] ?? 10)
const CLIENTS = 16
const PROBE_EVERY_MS = 100
const BROKEN_MS = 3_000
/** Nothing has failed for so long: it is over. */
const QUIET_MS = 3_000
const PATIENCE_MS = 60_000

const stack = new AsyncDisposableStack()
const ends = { teardown: (end: () => unknown) => stack.defer(() => void end()) }
const postgres = stack.adopt(await startPostgres(), (server) => server.close())
const other = stack.adopt(await startPostgres(), (server) => server.close())
const redis = stack.adopt(await startRedis(), (server) => server.close())
const secretFile = join(tmpdir(), `soak-${process.pid}.url`)
stack.defer(() => rmSync(secretFile))

/** The same role in both, whose password the bench knows. */
const as = (url: string, password = 'first') => Object.assign(new URL(url), { username: 'soak', password }).href

async function run(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  for (const statement of statements) await client.query(statement)
  await client.end()
}

for (const { url } of [postgres, other]) {
  await run(url, "create role soak superuser login password 'first'", 'create table written ()')
}
const proxy = await TcpProxy.start(ends, as(postgres.url))
const pgbouncer = await startPgbouncer(ends, as(postgres.url), {
  default_pool_size: '10',
  server_login_retry: '1',
})

interface Fault {
  env: NodeJS.ProcessEnv
  /** `pid`: of the service. */
  make(pid: number): unknown
  /** Without it the fault is one that nobody mends. */
  mend?(): unknown
  /** Behind the round. */
  reset?(): unknown
}

const FAULTS: Record<string, Fault> = {
  'failover behind one address: the old primary is read-only': {
    env: { DATABASE_URL: proxy.url },
    async make() {
      proxy.lead(other.url)
      await run(postgres.url, 'alter system set default_transaction_read_only = on', 'select pg_reload_conf()')
    },
    async reset() {
      proxy.lead(postgres.url)
      const settings = ['set default_transaction_read_only = off', 'alter system reset default_transaction_read_only']
      await run(postgres.url, ...settings, 'select pg_reload_conf()')
    },
  },
  'every connection dies in silence': {
    env: { DATABASE_URL: proxy.url },
    make: () => proxy.deaden(),
    // The server does not know that they are dead, and has room for a hundred.
    reset: () => proxy.lose(proxy.count),
  },
  'the password changes, and its file 3 s later; sessions live on, for a second': {
    env: { DATABASE_URL_FILE: secretFile, DATABASE_MAX_LIFETIME_SECONDS: '1' },
    make: () => run(postgres.url, "alter role soak password 'second'"),
    mend: () => writeFileSync(secretFile, as(postgres.url, 'second')),
    async reset() {
      await run(postgres.url, "alter role soak password 'first'")
      writeFileSync(secretFile, as(postgres.url))
    },
  },
  'the process stands still for 1.2 s (SIGSTOP)': {
    env: { DATABASE_URL: as(postgres.url) },
    async make(pid) {
      process.kill(pid, 'SIGSTOP')
      await sleep(1_200)
      process.kill(pid, 'SIGCONT')
    },
  },
  'PostgreSQL stopped for 3 s behind PgBouncer (`server_login_retry = 1`)': {
    env: {
      DATABASE_URL: as(pgbouncer.url),
      DATABASE_MIGRATION_URL: as(postgres.url),
      DATABASE_STATEMENT_TIMEOUT_MS: '0',
    },
    make: () => postgres.stop(),
    mend: () => postgres.start(),
  },
}

interface Answer {
  at: number
  ended: number
  status: number
  said: string
}

/** Asks over and over until it is told to stop. */
async function ask(url: string, pauseMs: number, signal: AbortSignal, answers: Answer[]): Promise<void> {
  while (!signal.aborted) {
    const at = performance.now()
    const response = await fetch(url, { headers: { connection: 'close' } })
    const { checks, services } = (await response.json()) as Record<string, unknown>
    const reason = JSON.stringify(services ?? checks ?? '').match(/"database":\{[^}]*"reason":"(\w+)"/)?.[1]
    answers.push({ at, ended: performance.now(), status: response.status, said: reason ? ` ${reason}` : '' })
    await sleep(pauseMs)
  }
}

interface Round {
  failed: number
  againMs: number
  probes: string
}

async function measure({ env, make, mend, reset }: Fault): Promise<Round> {
  writeFileSync(secretFile, as(postgres.url))
  const port = await freePort()
  const routes = `--import=${new URL('../test/support/routes.ts', import.meta.url)}`
  const service = spawn(process.execPath, ['src/server.ts'], {
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: routes,
      PORT: String(port),
      REDIS_URL: redis.url,
      LOG_LEVEL: 'fatal',
      ...env,
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const url = `http://127.0.0.1:${port}`
  const isReady = () =>
    fetch(`${url}/health`).then(
      ({ status }) => status === 200,
      () => false,
    )
  while (!(await isReady())) await sleep(50)
  const stop = new AbortController()
  const requests: Answer[] = []
  const probes: Answer[] = []
  const asking = [
    ...Array.from({ length: CLIENTS }, () => ask(`${url}/write`, 5, stop.signal, requests)),
    ...['/health', '/health/ready'].map((route) => ask(url + route, PROBE_EVERY_MS, stop.signal, probes)),
  ]
  await sleep(1_500)
  const broken = performance.now()
  await make(service.pid as number)
  if (mend) await sleep(BROKEN_MS)
  await mend?.()
  const from = mend ? performance.now() : broken
  const failures = () => requests.filter(({ status, ended }) => status !== 200 && ended > broken)
  const lastFailure = () => Math.max(from, ...failures().map(({ ended }) => ended))
  while (performance.now() - lastFailure() < QUIET_MS && performance.now() - from < PATIENCE_MS) await sleep(50)
  stop.abort()
  await Promise.all(asking)
  service.kill('SIGKILL')
  await reset?.()
  const seen = probes.filter(({ at, status }) => at > broken && status !== 200)
  const said = [...new Set(seen.map(({ status, said }) => `${status}${said}`))].sort()
  return {
    failed: failures().length,
    againMs: lastFailure() - from,
    probes: seen.length ? `${said.join(', ')} (${seen.length} answers)` : '200',
  }
}

process.stdout.write(
  '| Fault | Requests failed | Requests work again after | The probes said |\n| --- | --- | --- | --- |\n',
)
for (const [name, fault] of Object.entries(FAULTS)) {
  const all: Round[] = []
  for (let round = 0; round < rounds; round++) all.push(await measure(fault))
  const worst = all.toSorted((a, b) => b.againMs - a.againMs)[0] as Round
  const failed = Math.max(...all.map((round) => round.failed))
  const probes = all.toSorted((a, b) => b.probes.length - a.probes.length)[0]?.probes
  process.stdout.write(
    `| ${name} | ${failed} | ${worst.againMs === 0 ? 'at once' : `${Math.round(worst.againMs)} ms`} | ${probes} |\n`,
  )
}
await stack.disposeAsync()
process.exit(0)
