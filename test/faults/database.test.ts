import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { query, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { ask, probers, ROUTES, reasonOf, SHIPPED } from '../support/tools.ts'

interface Pool {
  totalCount: number
  idleCount: number
  waitingCount: number
  listeners: number
}

// Each test leaves it as it was. Few connections, so that one test can take them all.
const postgres = await startPostgres({ settings: { max_connections: '12', superuser_reserved_connections: '0' } })
t.teardown(() => postgres.close())

/** The service, with a prober on each of the three routes. */
async function setUp(t: Test, { env = {}, proxied = false } = {}) {
  t.teardown(() => postgres.restore())
  const proxy = await TcpProxy.start(t, postgres.url)
  const service = new Service(t, { ...SHIPPED, ...ROUTES, DATABASE_URL: proxied ? proxy.url : postgres.url, ...env })
  const url = await service.url()
  await service.logged('ready')
  const { live, ready, health } = probers(t, url)
  // Redis too is found: a connection that opens has a listener more.
  await health.next(200)
  await ask(`${url}/query`)
  const before = (await ask(`${url}/pool`)).body as unknown as Pool
  return { postgres, proxy, service, url, before, live, ready, health }
}

/** What holds after every fault: it lived, answered in time, and holds no more than before. */
async function survived(t: Test, { service, url, before, live, ready, health }: Awaited<ReturnType<typeof setUp>>) {
  await until(
    () => ask(`${url}/query`),
    ({ status }) => status === 200,
  )
  t.equal(service.child.exitCode, null, 'the process lives')
  t.same([...new Set(live.answers.map(({ status }) => status))], [200], 'liveness never failed')
  for (const prober of [live, ready, health]) {
    t.equal(prober.count(0) + prober.count(500), 0, 'every probe was answered, with 200 or 503')
    prober.inTime(t, live)
  }
  const after = await until(
    async () => (await ask(`${url}/pool`)).body as unknown as Pool,
    ({ totalCount, idleCount }) => totalCount === idleCount,
  )
  t.match(after, { waitingCount: 0, listeners: before.listeners }, 'no connection and no listener leaked')
}

t.test('stopped and restarted', async (t) => {
  const all = await setUp(t)
  await all.postgres.stop()
  t.match(await all.ready.next(503), { body: { status: 'not_ready', checks: { database: 'failed' } } })
  // While it stops, PostgreSQL answers that it does.
  const stopped = await all.health.next(503, (answer) => /^(refused|loading)$/.test(reasonOf(answer) ?? ''))
  t.match(stopped, { body: { status: 'unhealthy' } })
  await all.postgres.start()
  await all.ready.next(200)
  await all.health.next(200)
  await survived(t, all)
  const changes = all.service.logs.filter(({ msg }) => msg.startsWith('health check '))
  t.ok(changes.length >= 2)
  for (const [index, { msg }] of changes.entries()) {
    t.equal(msg, `health check ${index % 2 ? 'recovered' : 'failed'}`, 'a change is logged once')
  }
  // One that a slow machine fails in between says so.
  t.ok(changes.filter(({ reason }) => reason && reason !== 'timeout').length <= 1, 'logged once')
})

t.test('hangs: every process stopped', async (t) => {
  const all = await setUp(t, { env: { DATABASE_STATEMENT_TIMEOUT_MS: '500', DATABASE_QUERY_TIMEOUT_MS: '1000' } })
  all.postgres.pause()
  const hung = ask(`${all.url}/query`)
  await all.health.next(503, (answer) => reasonOf(answer) === 'timeout')
  await all.ready.next(503)
  t.equal((await hung).status, 503, 'a request that hangs with it is given up')
  all.postgres.resume()
  await all.ready.next(200)
  await survived(t, all)
})

t.test('hangs: a network that swallows every packet', async (t) => {
  const all = await setUp(t, {
    proxied: true,
    env: {
      DATABASE_STATEMENT_TIMEOUT_MS: '500',
      DATABASE_QUERY_TIMEOUT_MS: '1000',
      DATABASE_CONNECT_TIMEOUT_MS: '500',
    },
  })
  all.proxy.swallow()
  const hung = ask(`${all.url}/query`)
  await all.health.next(503, (answer) => reasonOf(answer) === 'timeout')
  await all.ready.next(503)
  t.equal((await hung).status, 503)
  all.proxy.heal()
  await all.ready.next(200)
  await survived(t, all)
})

t.test('every backend process terminated, in and out of transactions', async (t) => {
  const all = await setUp(t)
  const busy = ask(`${all.url}/transaction?seconds=60`)
  const idle = ask(`${all.url}/transaction`)
  const terminate = async () =>
    query<{ pid: number }>(
      all.postgres.url,
      "select pid, pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
  await until(
    () =>
      query(
        all.postgres.url,
        "select 1 from pg_stat_activity where state in ('active', 'idle in transaction') and pid <> pg_backend_pid()",
      ),
    (rows) => rows.length === 2,
  )
  t.ok((await terminate()).length >= 3, 'the probe’s own connection too')
  t.ok([500, 503].includes((await busy).status), 'its request fails')
  await ask(`${all.url}/release`)
  t.ok([500, 503].includes((await idle).status), 'its request fails')
  await all.ready.next(200)
  await survived(t, all)
  const failed = all.service.logs.filter(({ msg, reason }) => msg === 'health check failed' && reason !== 'timeout')
  t.ok(failed.length <= 1, 'one failed check at most')
  // Its result is remembered for a quarter of a second.
  for (const prober of [all.ready, all.health]) prober.failedAtMost(t, 3, all.live)
})

t.test('too many clients', async (t) => {
  const all = await setUp(t)
  const others: pg.Client[] = []
  t.teardown(() => Promise.all(others.map((client) => client.end())))
  const fill = async () => {
    for (;;) {
      const client = new pg.Client(all.postgres.url)
      client.on('error', () => {})
      try {
        await client.connect()
        others.push(client)
      } catch {
        return
      }
    }
  }
  await fill()
  const [first, second] = await Promise.all([ask(`${all.url}/query?seconds=0.5`), ask(`${all.url}/query?seconds=0.5`)])
  t.same([first.status, second.status].sort(), [200, 503], 'the pool has one connection: another is refused')
  t.equal((await all.ready.next(200)).status, 200)
  await Promise.all(others.splice(0).map((client) => client.end()))
  await survived(t, all)
  // The probe has a connection of its own.
  all.ready.failedAtMost(t, 0, all.live)
})

t.test('pool exhausted by slow transactions', async (t) => {
  const all = await setUp(t, { env: { DATABASE_POOL_MAX: '2', DATABASE_CONNECT_TIMEOUT_MS: '1000' } })
  const slow = [1, 2].map(async () => {
    for (;;) {
      const answer = await ask(`${all.url}/transaction`)
      if (answer.status !== 503) return answer // else the machine was too slow to connect
    }
  })
  await until(
    () => query(all.postgres.url, "select 1 from pg_stat_activity where state = 'idle in transaction'"),
    ({ length }) => length === 2,
  )
  const waiting = await ask(`${all.url}/query`)
  t.equal(waiting.status, 503, 'who waits too long gets 503')
  await ask(`${all.url}/release`)
  t.same(await Promise.all(slow.map(async (answer) => (await answer).status)), [200, 200])
  await survived(t, all)
  // The database is fine, and so say the probes.
  for (const prober of [all.ready, all.health]) prober.failedAtMost(t, 0, all.live)
})

t.test('failover: the old primary takes no writes', async (t) => {
  const all = await setUp(t)
  const readOnly = (value: string) =>
    query(all.postgres.url, `alter system set default_transaction_read_only = ${value}`).then(() =>
      query(all.postgres.url, 'select pg_reload_conf()'),
    )
  await readOnly('on')
  await all.health.next(503, (answer) => reasonOf(answer) === 'readonly')
  await all.ready.next(503)
  const client = new pg.Client(all.postgres.url)
  await client.connect()
  await client.query('set default_transaction_read_only = off')
  await client.query('alter system reset default_transaction_read_only')
  await client.query('select pg_reload_conf()')
  await client.end()
  await all.ready.next(200)
  await survived(t, all)
})

t.test('a password changed while running', async (t) => {
  const all = await setUp(t)
  const url = new URL(all.postgres.url)
  const other = new pg.Client(all.postgres.url)
  await other.connect()
  t.teardown(() => other.end())
  await other.query(`alter role ${url.username} password 'changed'`)
  for (let probe = 0; probe < 3; probe++) await all.ready.next(200)
  all.ready.failedAtMost(t, 0, all.live) // open connections go on
  await other.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()')
  await all.health.next(503, (answer) => reasonOf(answer) === 'auth')
  await other.query(`alter role ${url.username} password '${decodeURIComponent(url.password)}'`)
  await all.ready.next(200)
  await survived(t, all)
  t.notMatch(all.service.output, decodeURIComponent(url.password))
})
