import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { startPostgres } from '../../../dev/postgres.ts'
import { postgresVersion } from '../../../dev/postgres-binaries.ts'
import type { Server } from '../../../dev/server.ts'
import { MISREAD } from '../../../src/core/config/urls.ts'
import { connectionOptions } from '../../../src/database/connection.ts'
import hosts from '../../../src/database/hosts/index.ts'
import { build, configure } from '../../support/app.ts'
import { database, MIGRATIONS, query, shell, until, within } from '../../support/helper.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'
import { probers, reasonOf } from '../../support/tools.ts'

const SETTINGS = { wal_level: 'replica', max_wal_senders: '5', synchronous_commit: 'on' }

/** A primary, and a hot standby that has every commit before its client hears of it. */
async function pair(t: Test): Promise<{ primary: Server; standby: Server }> {
  const version = postgresVersion(process.env['PG_VERSION'])
  const primary = await startPostgres({ version, settings: SETTINGS })
  t.teardown(() => primary.close())
  const [row] = await query<{ data_directory: string }>(primary.url, 'show data_directory')
  const data = row?.data_directory as string
  await primary.stop()
  const signal = path.join(data, 'standby.signal')
  await writeFile(signal, '')
  const standby = await startPostgres({
    version,
    copyOf: path.dirname(data),
    settings: { ...SETTINGS, primary_conninfo: primary.url, wal_retrieve_retry_interval: '100ms' },
  })
  t.teardown(() => standby.close())
  await rm(signal)
  await primary.start()
  await query(primary.url, "alter system set synchronous_standby_names = '*'")
  await query(primary.url, 'select pg_reload_conf()')
  await until(
    () => query<{ sync_state: string }>(primary.url, 'select sync_state from pg_stat_replication'),
    ([replication]) => replication?.sync_state === 'sync',
  )
  return { primary, standby }
}

/** One URL of both, in this order. */
function both(one: string, two: string): string {
  return one.replace(/(?<=@)[^/]+/, (host) => `${host},${new URL(two).host}`)
}

/** The service, which writes without a pause and remembers what was acknowledged; and a prober on each route. */
async function setUp(t: Test, url: string, variables: NodeJS.ProcessEnv = {}) {
  const app = await build(t, { DATABASE_URL: url, MIGRATIONS: 'off', ...variables }, async (fastify) => {
    fastify.post<{ Params: { id: number } }>('/rows/:id', async ({ params }) => {
      await sql`insert into rows values (${params.id})`.execute(fastify.db)
    })
  })
  await sql`create table rows (id int)`.execute(app.db)
  const acknowledged: number[] = []
  const at: number[] = []
  const statuses = new Set<number>()
  let stopped = false
  const stop = () => {
    stopped = true
  }
  t.teardown(stop)
  const write = async () => {
    for (let id = 1; !stopped; id++) {
      const { statusCode } = await app.inject({ method: 'POST', url: `/rows/${id}` })
      statuses.add(statusCode)
      if (statusCode === 200) at.push(performance.now()) && acknowledged.push(id)
      else await sleep(10)
    }
  }
  const writing = write()
  const { live, ready, health } = probers(t, await app.listen({ port: 0, host: '127.0.0.1' }))
  await health.next(200)

  /** What holds after every failover: no acknowledged write is lost, and the service writes to the new primary. */
  async function wentOver(primary: Server): Promise<void> {
    const promoted = performance.now()
    await ready.next(200)
    await health.next(200)
    const before = acknowledged.length
    await until(
      async () => acknowledged.length,
      (length) => length > before,
    )
    stop()
    await within(writing, () => acknowledged.length)
    const first = at.find((ms) => ms > promoted) as number
    t.comment(`writes again ${Math.round(first - promoted)} ms after the promotion`)
    const rows = await query<{ id: number }>(primary.url, 'select id from rows')
    const kept = new Set(rows.map(({ id }) => id))
    t.same(
      acknowledged.filter((id) => !kept.has(id)),
      [],
      'no acknowledged write is lost',
    )
    t.notOk(statuses.has(500), 'a request that cannot be served gets 503')
    t.same([...new Set(live.answers.map(({ status }) => status))], [200], 'liveness never failed')
    for (const prober of [live, ready, health]) {
      t.equal(prober.count(0) + prober.count(500), 0, 'every probe was answered, with 200 or 503')
      prober.inTime(t, live)
    }
    t.equal((await app.pg.query('select inet_server_port() as port')).rows[0].port, primary.port)
  }
  return { app, ready, health, wentOver }
}

const promote = ({ url }: Server) => query(url, 'select pg_promote()')

t.test('the primary is killed and its standby promoted: no restart, no acknowledged write lost', async (t) => {
  const { primary, standby } = await pair(t)
  // A standby that is named first is no reason to read only.
  const service = await setUp(t, both(standby.url, primary.url))
  await primary.stop('immediate')
  t.match(await service.health.next(503), { body: { status: 'unhealthy' } })
  await service.ready.next(503)
  await promote(standby)
  await service.wentOver(standby)
})

t.test('the primary freezes and its standby is promoted: what hangs on it is cut off', async (t) => {
  const { primary, standby } = await pair(t)
  const service = await setUp(t, both(primary.url, standby.url))
  primary.pause()
  await service.health.next(503, (answer) => reasonOf(answer) === 'timeout')
  await promote(standby)
  await service.wentOver(standby)
  primary.resume()
  const { rows } = await service.app.pg.query('select inet_server_port() as port')
  t.equal(rows[0].port, standby.port, 'also when the old one is back and takes writes')
})

t.test('the primary turns read-only and its standby is promoted: open connections are left', async (t) => {
  const { primary, standby } = await pair(t)
  const service = await setUp(t, both(primary.url, standby.url))
  await query(primary.url, 'alter system set default_transaction_read_only = on')
  await query(primary.url, 'select pg_reload_conf()')
  await service.health.next(503, (answer) => reasonOf(answer) === 'readonly')
  await promote(standby)
  await service.wentOver(standby)
})

// Each test leaves it as it was.
const postgres = await startPostgres()
t.teardown(() => postgres.close())

t.test('a first host that swallows every packet costs a connection little', async (t) => {
  const silent = await TcpProxy.start(t, postgres.url)
  silent.swallow()
  // The migrations go the same way.
  const app = await build(t, { DATABASE_URL: both(silent.url, postgres.url), MIGRATIONS: 'run' })
  t.equal((await app.inject('/health')).statusCode, 200)
  const clients = await Promise.all(Array.from({ length: 5 }, () => app.pg.connect()))
  for (const client of clients) client.release()
  t.equal((await app.pg.query('select inet_server_port() as port')).rows[0].port, postgres.port)
})

t.test('who gives up waiting for a primary is told so', async (t) => {
  const app = await build(t, {
    DATABASE_URL: both(postgres.url, postgres.url),
    DATABASE_CONNECT_TIMEOUT_MS: '200',
    MIGRATIONS: 'off',
  })
  const client = await until(
    () => app.pg.connect().catch(() => undefined),
    (client) => client !== undefined,
  )
  t.teardown(() => postgres.restore())
  postgres.pause()
  await t.rejects(app.pg.connect(), /due to connection timeout/)
  t.match((await app.inject('/health')).json(), { services: { database: { reason: 'timeout' } } })
  await postgres.restore()
  client?.release()
})

t.test('no host answers: the reason is that of the one that took writes', async (t) => {
  const dead = Object.assign(new URL(postgres.url), { port: '1' }).href
  const app = await build(t, { DATABASE_URL: both(dead, postgres.url), MIGRATIONS: 'off' })
  await app.pg.query('select 1')
  t.teardown(() => postgres.restore())
  await postgres.stop()
  await t.rejects(app.pg.query('select 1'), { code: 'ECONNREFUSED', port: postgres.port })
  t.match((await app.inject('/health')).json(), { services: { database: { reason: 'refused' } } })
  await postgres.start()
  t.equal((await app.pg.query('select inet_server_port() as port')).rows[0].port, postgres.port)
})

t.test('user, password and hosts that are rotated in their file need no restart', async (t) => {
  const proxy = await TcpProxy.start(t, postgres.url)
  const dead = Object.assign(new URL(postgres.url), { port: '1' }).href
  const rotated = (url: string) => Object.assign(new URL(url), { username: 'rotated', password: 'hunter2' }).href
  await query(postgres.url, "create role rotated login password 'hunter2'")
  const file = `${t.testdir({ url: both(proxy.url, dead) })}/url`
  const app = await build(t, { DATABASE_URL: '', DATABASE_URL_FILE: file, MIGRATIONS: 'off' })
  const user = async () => (await app.pg.query('select current_user as name').catch(() => undefined))?.rows[0].name
  t.equal(await user(), 'postgres')
  await writeFile(file, both(rotated(dead), postgres.url))
  const opened = await app.pg.connect()
  await query(postgres.url, 'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()')
  await opened.query('select 1').catch(() => {})
  opened.release(true)
  await until(user, (name) => name === 'rotated')
  proxy.swallow()
  t.equal(await user(), 'rotated', 'no connection leads to the host that is no longer named')
  t.equal((await app.inject('/health')).statusCode, 200)
})

t.test('one host cannot become several without a restart, and the log says so', async (t) => {
  const file = `${t.testdir({ url: postgres.url })}/url`
  const app = await build(t, { DATABASE_URL: '', DATABASE_URL_FILE: file, MIGRATIONS: 'off' })
  await writeFile(file, both(postgres.url, postgres.url))
  const client = await app.pg.connect()
  const other = await app.pg.connect()
  for (const one of [client, other]) one.release()
  const told = app.logs.filter(({ msg }) => msg.startsWith('cannot use the new secret'))
  t.match(told, [
    { setting: 'DATABASE_URL_FILE', problem: 'names several hosts in place of one: that takes a restart' },
  ])
  t.equal(told.length, 1)
})

eachIsOneProblem(t, [
  [{ DATABASE_URL: 'postgres://user:12#hunter2@one,two/db' }, `DATABASE_URL ${MISREAD}`],
  [{ DATABASE_URL: 'postgres://user:hunter2@one,,two/db' }, 'DATABASE_URL names no host'],
  [{ DATABASE_URL: 'postgres://user:hunter2@one:5432,two:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ POSTGRES_HOST: 'one,' }, 'POSTGRES_HOST must match pattern "^[^\\s,]+(,[^\\s,]+)*$"'],
  [{ DATABASE_URL: `${DATABASE_URL}?host=one,two` }, 'DATABASE_URL names several hosts where one can be'],
])

t.test('a URL can name several hosts, each with a port of its own', async (t) => {
  t.same(hosts.urls('postgres://user:a,b@one,two:5433/app?sslmode=disable#,'), [
    'postgres://user:a,b@one/app?sslmode=disable#,',
    'postgres://user:a,b@two:5433/app?sslmode=disable#,',
  ])
  t.same(hosts.urls('postgres://one,[::1]:5433'), ['postgres://one', 'postgres://[::1]:5433'])
  t.same(hosts.urls('one,two'), ['one,two'], 'what is no URL is left as it is')
})

const verified = { rejectUnauthorized: true }
const tls: [NodeJS.ProcessEnv, false | object][] = [
  [{ DATABASE_URL: 'postgres://user@localhost,db.example/app' }, verified],
  [{ DATABASE_URL: 'postgres://user@localhost,db.example/app?sslmode=disable' }, false],
  [{ DATABASE_URL: 'postgres://user@localhost,other/app', NODE_ENV: 'production' }, verified],
  [{ DATABASE_URL: 'postgres://user@localhost,127.0.0.2:5433/app', NODE_ENV: 'production' }, false],
  [{ POSTGRES_HOST: 'localhost,db', NODE_ENV: 'production' }, verified],
]
for (const [variables, ssl] of tls) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    t.same(connectionOptions(await configure(t, variables)).ssl, ssl)
  })
}

t.test('kysely and npm run types find the host that takes writes', async (t) => {
  const url = await database(t)
  const DATABASE_URL = url.replace('@', '@127.0.0.1:1,')
  // It fails where a host is not asked within the time of a health check: on a machine that is busy enough.
  const output = (program: string, ...args: string[]) =>
    until(
      () => shell(program, args, { DATABASE_URL }).catch((err) => String(err.stderr)),
      (output) => !output.includes('ECONNREFUSED'),
    )
  t.match(await output('kysely', 'migrate:list'), new RegExp(`✓.* ${MIGRATIONS[0]}`))
  t.match(await output('npm', 'run', 'types', '--', '--verify'), /up-to-date/)
})
