import { sql } from 'kysely'
import type { ClientBase } from 'pg'
import t, { type Test } from 'tap'
import { connectionOptions } from '../../src/database/connection.ts'
import { ServicePool } from '../../src/database/pool.ts'
import { Probe } from '../../src/database/probe.ts'
import { Statements } from '../../src/database/statements.ts'
import { build, configure } from '../support/app.ts'
import { backends, database, PATIENCE_MS, query, sharedDatabase, until } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

t.test('the pool is renewed: idle connections now, those in use when they are given back', async (t) => {
  const { pg } = await build(t)
  const pool = pg.pool as ServicePool
  const pidOf = async (client: ClientBase) => (await client.query('select pg_backend_pid() as pid')).rows[0].pid
  const [first, second] = await Promise.all([pool.connect(), pool.connect()])
  const old = await Promise.all([first, second].map(pidOf))
  second.release()
  const third = pool.connect() // is about to get the idle one
  pool.renew()
  t.notOk(old.includes(await pidOf(await third)))
  t.equal(await pidOf(first), old[0], 'what is in use goes on')
  first.release()
  ;(await third).release()
  await until(
    () => [pool.totalCount, pool.clients.size],
    ([total, open]) => total === 1 && open === 1,
  )
})

t.test('who waits for a connection is not told that it took too long because the process stood still', async (t) => {
  const { pg } = await build(t, { DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '1000' })
  const holder = await pg.connect()
  const waiting = pg.connect()
  const behind = pg.connect()
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000)
  // By then pg-pool's timer has fired.
  setImmediate(() => holder.release())
  for (const client of [waiting, behind]) (await client).release()
})

t.test('a connection that is as old as it may be is replaced, unless the server has no room', async (t) => {
  const DATABASE_URL = await database(t)
  const options = connectionOptions(await configure(t, { DATABASE_URL }))
  const name = new URL(DATABASE_URL).pathname.slice(1)
  const seen = async () => {
    const rows = query<{ pid: number }>(backends.database, `select pid from pg_stat_activity where datname = '${name}'`)
    return (await rows).map(({ pid }) => pid)
  }
  const probe = new Probe(options, { maxLifetimeMs: 1 })
  t.teardown(() => probe.close())
  await probe.check(AbortSignal.timeout(PATIENCE_MS))
  const before = await seen()
  await probe.check(AbortSignal.timeout(PATIENCE_MS))
  const after = await until(seen, ({ length }) => length === 1)
  t.notSame(after, before)
  await query(backends.database, `alter database ${name} connection limit 1`)
  await probe.check(AbortSignal.timeout(PATIENCE_MS))
  t.same(await seen(), after, 'the one of before answers')
})

t.test('a database that is always slow is not asked on one more connection each time', async (t) => {
  const proxy = await TcpProxy.start(t, await sharedDatabase())
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL: proxy.url })))
  t.teardown(() => probe.close())
  await probe.check(AbortSignal.timeout(PATIENCE_MS))
  proxy.slow(300)
  await until(
    async () => {
      const before = proxy.count
      await probe.check(AbortSignal.timeout(PATIENCE_MS))
      return proxy.count - before
    },
    (opened) => opened === 0,
  )
})

/** A pool whose statements are watched, and never judged by themselves. */
async function watched(t: Test) {
  const config = await configure(t, { DATABASE_URL: await sharedDatabase() })
  const pool = new ServicePool(connectionOptions(config))
  t.teardown(() => pool.end())
  const options = { check: async () => {}, bytesRead: () => 0, queryTimeoutMs: 0, silenceMs: 0 }
  const statements = new Statements(pool, options)
  return { pool, statements }
}

t.test('a statement that is answered in the meantime is no dead connection', async (t) => {
  const { pool, statements } = await watched(t)
  const client = await pool.connect()
  const answer = client.query('select pg_sleep(1)')
  const suspects = await until(
    () => statements.suspects(),
    ({ length }) => length === 1,
  )
  await answer
  await statements.judge({ suspects, running: new Set(), replaced: false, silent: false })
  t.equal((await client.query('select 1')).rowCount, 1)
  client.release()
})

t.test('an answer on the way is no silence, also when another statement waits behind it', async (t) => {
  const { pool, statements } = await watched(t)
  const client = await pool.connect()
  const first = client.query('select pg_sleep(1)')
  const second = client.query('select pg_sleep(3)')
  const suspects = await until(
    () => statements.suspects(),
    ({ length }) => length === 1,
  )
  await first
  // The answer has been noted.
  await until(
    () => statements.suspects(),
    ({ length }) => length === 0,
  )
  await statements.judge({ suspects, running: new Set(), replaced: false, silent: false })
  t.equal((await second).rowCount, 1)
  client.release()
})

t.test('a long statement has the time that it takes to be sent', async (t) => {
  const { pool, statements } = await watched(t)
  const [long, short] = await Promise.all([pool.connect(), pool.connect()])
  const answers = [
    long.query(`select pg_sleep(1), length('${'x'.repeat(20_000_000)}')`),
    short.query('select pg_sleep(1)'),
  ]
  const suspects = await until(
    () => statements.suspects().map(({ client }) => client),
    (clients) => clients.includes(short),
  )
  t.same(suspects.length, 1)
  await Promise.all(answers)
  for (const client of [long, short]) client.release()
})

t.test('connections to a pooler that die in silence are replaced too', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const proxy = await TcpProxy.start(t, variables.DATABASE_URL)
  const app = await build(t, { ...variables, DATABASE_URL: proxy.url })
  const held = await app.pg.connect()
  await sql`select 1`.execute(app.db)
  proxy.deaden()
  const silent = { code: 'ECONNRESET', message: 'The connection died in silence' }
  await t.rejects(sql`select 1`.execute(app.db), silent)
  t.equal((await sql`select 1 as one`.execute(app.db)).rows.length, 1)
  await t.rejects(held.query('select 1'), silent, 'also what is asked only then')
  held.release()
})

t.test('connections to a pooler that died while nothing answered are replaced', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const proxy = await TcpProxy.start(t, variables.DATABASE_URL)
  const app = await build(t, { ...variables, DATABASE_URL: proxy.url })
  await sql`select 1`.execute(app.db)
  proxy.deaden()
  proxy.swallow()
  const health = async () => (await app.inject('/health')).statusCode
  await until(health, (status) => status === 503)
  proxy.heal()
  await until(health, (status) => status === 200)
  t.equal((await sql`select 1 as one`.execute(app.db)).rows.length, 1)
})

t.test('behind a pooler a connection that is lost says nothing of the others', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const proxy = await TcpProxy.start(t, variables.DATABASE_URL)
  const app = await build(t, { ...variables, DATABASE_URL: proxy.url })
  await app.inject('/health')
  const slow = sql`select pg_sleep(4)`.execute(app.db)
  const isLate = "query = 'select pg_sleep(4)' and now() - query_start > interval '1 s'"
  await until(
    () => query(backends.database, `select from pg_stat_activity where state = 'active' and ${isLate}`),
    ({ length }) => length === 1,
  )
  const before = proxy.count
  proxy.lose(1) // the probe's
  await until(
    () => app.inject('/health'),
    () => proxy.count > before,
  )
  t.equal((await slow).rows.length, 1)
})

t.test('a query timeout is as short as it is set, also behind another', async (t) => {
  const app = await build(t, { DATABASE_STATEMENT_TIMEOUT_MS: '0', DATABASE_QUERY_TIMEOUT_MS: '50' })
  const times: number[] = []
  for (let query = 0; query < 6; query++) {
    const started = performance.now()
    await t.rejects(sql`select pg_sleep(1)`.execute(app.db), { code: 'ETIMEDOUT' })
    times.push(performance.now() - started)
  }
  // A machine may be slow, but not each time; the next look would have come after half a second.
  t.ok(Math.min(...times.slice(1)) < 450, `${times.map(Math.round)} ms`)
})

t.test('a callback that gives back twice is told, and takes the connection from nobody', async (t) => {
  const { pg } = await build(t, { DATABASE_POOL_MAX: '1' })
  const done = await new Promise<() => void>((resolve, reject) =>
    pg.connect((err, _, done) => (err ? reject(err) : resolve(done))),
  )
  done()
  const next = await pg.connect()
  t.throws(done, { message: /already been released/ })
  next.release()
})

t.test('an answer that arrives in parts is no silence', async (t) => {
  const app = await build(t, { DATABASE_STATEMENT_TIMEOUT_MS: '0', DATABASE_QUERY_TIMEOUT_MS: '1000' })
  const parts = sql`select repeat('x', 10000), pg_sleep(0.25) from generate_series(1, 8)`
  t.equal((await parts.execute(app.db)).rows.length, 8)
})

t.test('what was asked of a pooler before a black hole is given up behind it', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const proxy = await TcpProxy.start(t, variables.DATABASE_URL)
  const app = await build(t, { ...variables, DATABASE_URL: proxy.url, DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  await sql`select 1`.execute(app.db)
  proxy.swallow()
  const asked = t.rejects(sql`select 1`.execute(app.db), {
    code: 'ECONNRESET',
    message: 'The connection died in silence',
  })
  await until(
    () => app.inject('/health/ready'),
    ({ statusCode }) => statusCode === 503,
  )
  proxy.heal()
  await asked
})

t.test('nobody gets a connection inside of the transaction of the last user', async (t) => {
  const { pg, logs } = await build(t, { DATABASE_POOL_MAX: '1' })
  const warnings = () => logs.filter(({ msg }) => msg.includes('COMMIT')).length
  const next = async () => (await pg.query("select current_setting('app.name', true) as name")).rows[0].name
  await pg.query("begin; set local app.name = 'open'")
  t.notOk(await next())
  const client = await pg.connect()
  await client.query("begin; set local app.name = 'failed'")
  await t.rejects(client.query('select 1 / 0'), { code: '22012' })
  client.release()
  t.notOk(await next())
  t.equal(warnings(), 2)
  const hasty = await pg.connect()
  const begun = hasty.query("begin; set local app.name = 'not awaited'")
  hasty.release()
  await begun
  t.notOk(await next())
  t.equal(warnings(), 3)
  const pid = async () => (await pg.query('select pg_backend_pid() as pid')).rows[0].pid
  const before = await pid()
  await t.rejects(
    pg.transact((client) => client.query('select 1 / 0')),
    { code: '22012' },
  )
  t.equal(await pid(), before, 'one that was rolled back is kept')
  t.equal(warnings(), 3)
})
