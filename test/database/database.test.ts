import { writeFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { secret } from '../../src/core/config/secrets.ts'
import { MISREAD } from '../../src/core/config/urls.ts'
import { connectionOptions } from '../../src/database/connection.ts'
import { Probe } from '../../src/database/probe.ts'
import { build, configure, unstarted } from '../support/app.ts'
import { database, event, MIGRATIONS, query, sharedDatabase, until } from '../support/helper.ts'
import { needsPgbouncer, over, pooled } from '../support/pgbouncer.ts'
import { startPgbouncer } from '../support/pgbouncer-server.ts'
import { Service } from '../support/process.ts'
import { DATABASE_URL, eachIsOneProblem, secretFile } from '../support/settings.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

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
  await t.rejects(sql`select pg_sleep(60)`.execute(app.db), { code: 'ETIMEDOUT' })
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

t.test('a user and a password that are rotated in their file need no restart', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const as = (username: string, password: string) => Object.assign(new URL(postgres.url), { username, password }).href
  for (const role of ['one', 'two']) await query(postgres.url, `create role ${role} login password '${role}'`)
  const file = `${t.testdir({ url: as('one', 'one') })}/url`
  const app = await build(t, {
    DATABASE_URL: '',
    DATABASE_URL_FILE: file,
    DATABASE_MIGRATION_URL: postgres.url,
  })
  const user = async () => (await sql<{ name: string }>`select current_user as name`.execute(app.db)).rows[0]?.name
  t.equal(await user(), 'one')
  writeFileSync(file, as('two', 'two'))
  await query(postgres.url, 'alter role one nologin')
  await query(postgres.url, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'one'")
  await until(
    async () => app.pg.pool.totalCount,
    (connections) => connections === 0,
  )
  t.equal(await user(), 'two')
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

eachIsOneProblem(t, [
  [{ DATABASE_URL, POSTGRES_HOST: 'h' }, 'DATABASE_URL and POSTGRES_HOST are both set'],
  [{ DATABASE_URL, DATABASE_POOL_MIN: '3', DATABASE_POOL_MAX: '2' }, 'DATABASE_POOL_MIN is over DATABASE_POOL_MAX'],
  [
    { DATABASE_URL, DATABASE_QUERY_TIMEOUT_MS: '9', DATABASE_STATEMENT_TIMEOUT_MS: '10' },
    'DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS',
  ],
  [{ DATABASE_URL: 'postgres://user:hunter2@host:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ DATABASE_URL: `${DATABASE_URL}?sslrootcert=/does/not/exist` }, 'DATABASE_URL cannot be used (ENOENT)'],
  [{ DATABASE_URL: `${DATABASE_URL}?host=one,two` }, 'DATABASE_URL names several hosts where one can be'],
  [{ DATABASE_URL: 'postgres://' }, 'DATABASE_URL names no host'],
  ...['12#hunter2', '12/hunter2', '12?hunter2', 'hun#ter2', 'hun/ter2=', 'hun?t/er2', '50%off%2F', '50%de'].map(
    (password): [NodeJS.ProcessEnv, string] => [
      { DATABASE_URL: `postgres://user:${password}@host/db` },
      `DATABASE_URL ${MISREAD}`,
    ],
  ),
  [{ DATABASE_URL, DATABASE_MIGRATION_URL: 'postgres://user:12#hunter2@host/db' }, `DATABASE_MIGRATION_URL ${MISREAD}`],
  ...['Notes', 'pg_notes', 'notes,other', 'notes -c x=y', '"notes"', 'n'.repeat(64)].map(
    (DATABASE_SCHEMA): [NodeJS.ProcessEnv, string] => [
      { DATABASE_URL, DATABASE_SCHEMA },
      'DATABASE_SCHEMA must match pattern "^(?!pg_)[a-z_][a-z0-9_]{0,62}$"',
    ],
  ),
])

/** What a connection that is made now would use. */
function present({ Client = pg.Client, ...options }: ReturnType<typeof connectionOptions>) {
  const { user, password, host, port, database, ssl } = new Client(options)
  return { user, password, host, port, database, ssl }
}

t.test('all of a rotated URL is read for the next connection, and what does not fit leaves the last one', async (t) => {
  const file = await secretFile(t, DATABASE_URL)
  const app = await unstarted(t, { DATABASE_URL: '', DATABASE_URL_FILE: file, MIGRATIONS: 'off' })
  const options = connectionOptions(app.config, 'service', app.log)
  const ssl = { rejectUnauthorized: true }
  const first = { user: 'user', password: 'hunter2', host: 'database.example', port: 5432, database: 'app', ssl }
  t.same(present(options), first)

  await writeFile(file, 'postgres://you:hunter3@[::1]:1/other?sslmode=verify-full')
  const rotated = { user: 'you', password: 'hunter3', host: '::1', port: 1, database: 'other', ssl }
  t.same(present(options), rotated)
  t.same(present({ ...options, user: 'own' }), { ...rotated, user: 'own' }, 'what the caller says stays')

  const told = () => app.logs.filter(({ msg }) => msg.startsWith('cannot use the new secret'))
  for (const nonsense of ['', 'hunter4', 'postgres://me:hun/ter4@host', 'postgres://me:hunter4@host:port']) {
    await writeFile(file, nonsense)
    for (let twice = 0; twice < 2; twice++) t.same(present(options), rotated)
  }
  await rm(file)
  t.same(present(options), rotated)
  t.same(
    told().map(({ setting, problem }) => `${setting} ${problem}`),
    [
      'DATABASE_URL_FILE is empty',
      'DATABASE_URL_FILE is no URL of PostgreSQL',
      `DATABASE_URL_FILE ${MISREAD}`,
      'DATABASE_URL_FILE cannot be used (ERR_INVALID_URL)',
      'DATABASE_URL_FILE ENOENT',
    ],
    'each once',
  )
  await writeFile(file, DATABASE_URL)
  t.same(present(options), first)
  t.notMatch(JSON.stringify(app.logs), /hunter/)
})

t.test('a rotated password of the POSTGRES_ variables, and the URL of migrations, are read again too', async (t) => {
  const password = await secretFile(t, 'first')
  const url = await secretFile(t, 'postgres://owner:hunter2@direct.example/app')
  const config = await configure(t, {
    POSTGRES_HOST: 'h',
    POSTGRES_PASSWORD_FILE: password,
    DATABASE_MIGRATION_URL_FILE: url,
  })
  const [serves, migrates] = [connectionOptions(config), connectionOptions(config, 'migration')]
  await writeFile(password, 'second')
  await writeFile(url, 'postgres://other:hunter2@direct.example/app')
  t.match(present(serves), { user: 'postgres', password: 'second' })
  t.match(present(migrates), { user: 'other', host: 'direct.example' })
})

t.test('a password that the address lacks comes from PGPASSWORD, and the error names where it can stand', async (t) => {
  const complete = new URL(await sharedDatabase())
  const { href: DATABASE_URL } = Object.assign(new URL(complete), { password: '' })
  const without = await unstarted(t, { DATABASE_URL })
  await t.rejects(without.lifecycle.start(), /\(DATABASE_URL, POSTGRES_PASSWORD and PGPASSWORD have none\)$/)
  await new Service(t, { DATABASE_URL, PGPASSWORD: decodeURIComponent(complete.password) }).logged('ready')
})

t.test('the error of the connection that migrates names where it comes from', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  for (const wrong of [{ password: '' }, { password: 'hunter2' }, { pathname: 'missing' }]) {
    const { href: DATABASE_MIGRATION_URL } = Object.assign(new URL(DATABASE_URL), wrong)
    const app = await unstarted(t, { DATABASE_URL, DATABASE_MIGRATION_URL })
    await t.rejects(app.lifecycle.start(), /\(over DATABASE_MIGRATION_URL, or what stands in for it\)$/)
  }
})

t.test('what an address may hold without being encoded is understood', async (t) => {
  for (const [url, expected] of [
    ['postgres://user:p@ss:50%off@host/db', { password: 'p@ss:50%off', host: 'host' }],
    ['postgres://host/db?user=me@tenant', { user: 'me@tenant', host: 'host' }],
    ['postgres://user:a%40%2F@host/db?sslrootcert=%2Fdev%2Fnull', { password: 'a@/', host: 'host' }],
  ] as const) {
    t.match(present(connectionOptions(await configure(t, { DATABASE_URL: url }))), expected)
  }
})

t.test('the POSTGRES_ variables of a Docker user name the database', async (t) => {
  t.match(connectionOptions(await configure(t, { POSTGRES_HOST: 'db', POSTGRES_USER: 'me' })), {
    host: 'db',
    port: 5432,
    user: 'me',
    database: 'me',
    ssl: false,
  })
})

t.test('migrations have a connection of their own where one is named', async (t) => {
  const DATABASE_MIGRATION_URL = 'postgres://owner:hunter2@direct.example/app'
  const config = await configure(t, { DATABASE_URL, DATABASE_MIGRATION_URL })
  t.match(connectionOptions(config), { host: 'database.example', user: 'user' })
  t.match(connectionOptions(config, 'migration'), { host: 'direct.example', user: 'owner' })
})

const patience = () => AbortSignal.timeout(60_000)

t.test('a connection that is lost while it is asked is no lost database', async (t) => {
  const proxy = await TcpProxy.start(t, await database(t))
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL: proxy.url })))
  t.teardown(() => probe.close())
  await probe.check(patience())
  proxy.swallow()
  const checked = probe.check(patience())
  await proxy.cut()
  await checked
  t.pass('asked again on a new one')
})

t.test('a database that takes no writes is one that does not serve', async (t) => {
  const DATABASE_URL = await database(t)
  await query(
    DATABASE_URL,
    `alter database ${new URL(DATABASE_URL).pathname.slice(1)} set default_transaction_read_only = on`,
  )
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL })))
  t.teardown(() => probe.close())
  await t.rejects(probe.check(patience()), { code: '25006', message: 'The database is read-only' })
})

t.test('three replicas migrate beside PgBouncer, and serve over it', needsPgbouncer, async (t) => {
  const variables = await pooled(t, { empty: true })
  const replicas = [1, 2, 3].map(() => new Service(t, variables))
  await Promise.all(replicas.map((replica) => replica.logged('ready')))
  const migrated = replicas.flatMap(({ logs }) => logs.filter(({ msg }) => msg === 'migrated'))
  t.equal(migrated.length, MIGRATIONS.length)
  for (const replica of replicas) {
    const health = await fetch(`${await replica.url()}/health`)
    t.match(await health.json(), { status: 'healthy' })
  }
})

t.test('a startup parameter that PgBouncer refuses: exit 1, and the setting is named', needsPgbouncer, async (t) => {
  const variables = await pooled(t, { empty: true })
  const refused = { ...variables, DATABASE_STATEMENT_TIMEOUT_MS: '1000' }
  const service = new Service(t, refused)
  t.equal(await service.exited, 1)
  t.match(service.fatal, {
    err: { code: '08P01', message: /statement_timeout \(set DATABASE_STATEMENT_TIMEOUT_MS=0\)$/ },
  })

  const pool = await unstarted(t, refused)
  await t.rejects(pool.pg.query('select 1'), /statement_timeout \(set DATABASE_STATEMENT_TIMEOUT_MS=0\)$/)
  for (const [setting, said] of [
    [
      { DATABASE_MIGRATION_URL: '' },
      /lock_timeout \(DATABASE_MIGRATION_URL must lead to the server itself, not to a pooler\)$/,
    ],
    [
      { DATABASE_URL: `${variables.DATABASE_URL}?options=-c%20geqo=off` },
      /options \(DATABASE_URL or DATABASE_SCHEMA asks for it: /,
    ],
  ] as const) {
    const app = await unstarted(t, { ...variables, ...setting })
    await t.rejects(app.lifecycle.start(), { code: '08P01', message: said })
  }
})

t.test('PgBouncer that knows no such database, user or password: exit 1', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  for (const [part, value] of [
    ['pathname', '/nowhere'],
    ['username', 'nobody'],
    ['password', 'hunter2'],
  ] as const) {
    const { href } = Object.assign(new URL(variables.DATABASE_URL), { [part]: value })
    const service = new Service(t, { ...variables, DATABASE_URL: href })
    t.equal(await service.exited, 1, part)
    t.notMatch(service.output, /hunter2/)
  }
})

t.test(
  'PostgreSQL stops behind PgBouncer: requests get 503, and a replica that boots waits',
  needsPgbouncer,
  async (t) => {
    const postgres = await startPostgres()
    t.teardown(() => postgres.close())
    await query(postgres.url, 'alter role postgres set statement_timeout = 500')
    const settings = { server_login_retry: '1', default_pool_size: '20' }
    const variables = over(await startPgbouncer(t, postgres.url, settings), postgres.url)
    const app = await build(t, variables, async (fastify) => {
      fastify.get('/slow', () => sql`select pg_sleep(60)`.execute(fastify.db))
      fastify.get('/query', () => sql`select 1`.execute(fastify.db))
    })
    t.match(await app.inject('/slow'), { statusCode: 503, headers: { 'retry-after': '1' } }, 'its statement timeout')
    t.equal((await app.inject('/query')).statusCode, 200)

    await postgres.stop()
    await until(
      async () => (await app.inject('/health')).json().services.database.reason,
      (reason) => reason === 'unreachable',
    )
    for (let request = 0; request < 3; request++) {
      t.match(await app.inject('/query'), { statusCode: 503, headers: { 'retry-after': '1' } })
    }
    const booting = new Service(t, variables)
    t.match(await booting.logged('waiting for the database'), { level: 40 })

    await postgres.start()
    await booting.logged('ready')
    await until(
      () => app.inject('/query'),
      ({ statusCode }) => statusCode === 200,
    )
    t.equal((await app.inject('/health')).statusCode, 200)
    t.same(
      app.logs.filter(({ msg }) => msg === 'request failed'),
      [],
      'no 500',
    )
  },
)

t.test('PgBouncer is full: 503, and it is waited for', needsPgbouncer, async (t) => {
  const direct = await database(t)
  const variables = over(await startPgbouncer(t, direct, { max_client_conn: '2' }), direct)
  const app = await build(t, { ...variables, DATABASE_CONNECT_TIMEOUT_MS: '60000' }, async (fastify) => {
    fastify.get('/query', () => sql`select 1`.execute(fastify.db))
  })
  const client = await app.pg.connect() // beside that of the health check
  t.match(await app.inject('/query'), { statusCode: 503, headers: { 'retry-after': '1' } })
  const booting = new Service(t, variables)
  t.match(await booting.logged('waiting for the database'), { reason: 'limit' })
  client.release()
  await app.close()
  await booting.logged('ready')
})

t.test('PgBouncer has no server for a query in its time: 503', needsPgbouncer, async (t) => {
  const direct = await database(t)
  const pgbouncer = await startPgbouncer(t, direct, { query_wait_timeout: '1', default_pool_size: '1' })
  const app = await build(t, { ...over(pgbouncer, direct), MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get('/query', () => sql`select 1`.execute(fastify.db))
  })
  const client = await app.pg.connect()
  await client.query('begin')
  t.match(await app.inject('/query'), { statusCode: 503, headers: { 'retry-after': '1' } })
  const [line] = app.logs.filter(({ msg }) => msg === 'backend unavailable')
  t.match(line, { reason: 'timeout', err: { message: 'query_wait_timeout' } })
  await client.query('rollback')
  client.release()
})

t.test('a secret is read from the environment, or again from its file each time', async (t) => {
  t.equal(secret(await configure(t, { DATABASE_URL }), 'DATABASE_URL'), DATABASE_URL)
  const file = await secretFile(t, DATABASE_URL)
  const config = await configure(t, { DATABASE_URL_FILE: file })
  t.equal(secret(config, 'DATABASE_URL'), DATABASE_URL)
  await writeFile(file, 'postgres://rotated@host/db')
  t.equal(secret(config, 'DATABASE_URL'), 'postgres://rotated@host/db')
})
