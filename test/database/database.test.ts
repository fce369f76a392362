import { writeFileSync } from 'node:fs'
import { sql } from 'kysely'
import t from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { build } from '../support/app.ts'
import { event, query, until } from '../support/helper.ts'

const TERMINATE =
  'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'

t.test('app.db and app.pg share one pool', async (t) => {
  const app = await build(t)
  await sql`select 1`.execute(app.db)
  await app.pg.query('select 1')
  t.equal(app.pg.pool.totalCount, 1)
})

t.test('a terminated backend, idle, is no crash and no lost database', async (t) => {
  const app = await build(t)
  const url = await app.pg.query<{ db: string }>('select current_database() as db')
  const lost = event(app.pg.pool, 'error')
  await query(app.config.DATABASE_URL as string, TERMINATE)
  await lost
  t.equal((await app.inject('/health/ready')).statusCode, 200)
  t.same((await app.pg.query('select current_database() as db')).rows, url.rows)
})

t.test('a backend terminated in a transaction fails that transaction alone', async (t) => {
  const app = await build(t)
  for (const work of ['select 1', 'select pg_sleep(60)']) {
    await t.rejects(
      app.db.transaction().execute(async (trx) => {
        await sql`select 1`.execute(trx)
        const terminated = query(app.config.DATABASE_URL as string, TERMINATE)
        if (work === 'select 1') await terminated
        await sql.raw(work).execute(trx)
      }),
    )
    await sql`select 1`.execute(app.db)
  }
  t.equal(app.pg.pool.totalCount, app.pg.pool.idleCount, 'every connection is back')
})

t.test('a query that outlives its timeout takes its connection with it', async (t) => {
  const app = await build(t, {
    DATABASE_POOL_MAX: '1',
    DATABASE_STATEMENT_TIMEOUT_MS: '0',
    DATABASE_QUERY_TIMEOUT_MS: '100',
  })
  await t.rejects(sql`select pg_sleep(60)`.execute(app.db), { message: 'Query read timeout' })
  // Which takes a new connection and a query, each of which the timeout is short for.
  await until(
    () => sql`select 1 as one`.execute(app.db).catch((err) => err),
    ({ rows }) => rows?.length === 1,
  )
})

t.test('the server has the statement timeout, unless it is 0', async (t) => {
  for (const [setting, shown] of [
    ['1500', '1500ms'],
    ['0', '0'],
  ] as const) {
    const app = await build(t, { DATABASE_STATEMENT_TIMEOUT_MS: setting })
    const { rows } = await sql`show statement_timeout`.execute(app.db)
    t.same(rows, [{ statement_timeout: shown }])
  }
})

t.test('a request that the pool cannot serve in time gets 503, and the probes stay well', async (t) => {
  const app = await build(t, { DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '100' })
  // A new connection too has no longer than that.
  const client = await until(
    () => app.pg.connect().catch(() => undefined),
    (client) => client !== undefined,
  )
  await t.rejects(sql`select 1`.execute(app.db), /timeout/)
  await until(
    () => app.inject('/health'),
    ({ statusCode }) => statusCode === 200,
  )
  client?.release()
  await sql`select 1`.execute(app.db)
})

t.test('a password that is rotated in its file needs no restart', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const file = `${t.testdir({ url: postgres.url })}/url`
  const app = await build(t, { DATABASE_URL: '', DATABASE_URL_FILE: file })
  await query(postgres.url, "alter role postgres password 'rotated'")
  const rotated = Object.assign(new URL(postgres.url), { password: 'rotated' }).href
  writeFileSync(file, rotated)
  await query(rotated, 'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()')
  await until(
    async () => app.pg.pool.totalCount,
    (connections) => connections === 0,
  )
  t.same((await sql`select 1 as one`.execute(app.db)).rows, [{ one: 1 }])
  t.equal((await app.inject('/health/ready')).statusCode, 200)
})

t.test('each connection is logged at debug as it comes and goes, and at warn by code when it is lost', async (t) => {
  const app = await build(t)
  const client = await app.pg.connect()
  await query(app.config.DATABASE_URL as string, TERMINATE)
  const told = () => app.logs.filter(({ msg }) => msg.startsWith('database connection'))
  await until(
    async () => told().at(-1)?.msg,
    (last) => last === 'database connection closed',
  )
  client.release()
  t.match(told()[0], { level: 20, msg: 'database connection opened' })
  t.match(told()[1], { level: 40, msg: 'database connection lost', err: { code: '57P01' } })
  t.match(told().at(-1), { level: 20, msg: 'database connection closed' })
})

t.test('the pool is as its variables say', async (t) => {
  const app = await build(t, {
    DATABASE_POOL_MIN: '1',
    DATABASE_POOL_MAX: '3',
    DATABASE_IDLE_TIMEOUT_MS: '4000',
    DATABASE_MAX_LIFETIME_SECONDS: '5',
    DATABASE_KEEP_ALIVE_MS: '6000',
  })
  t.match(app.pg.pool.options, {
    min: 1,
    max: 3,
    idleTimeoutMillis: 4000,
    maxLifetimeSeconds: 5,
    keepAlive: true,
    keepAliveInitialDelayMillis: 6000,
  })
  const without = await build(t, { DATABASE_KEEP_ALIVE_MS: '0' })
  t.match(without.pg.pool.options, { keepAlive: false })
})
