import { writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { sql } from 'kysely'
import t from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { connectionOptions } from '../../src/database/connection.ts'
import { Probe } from '../../src/database/probe.ts'
import { build, configure } from '../support/app.ts'
import { database, event, MIGRATIONS, query, until } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'
import { Service } from '../support/process.ts'
import { DATABASE_URL, eachIsOneProblem, secretFile } from '../support/settings.ts'
import { TcpProxy } from '../support/tools.ts'

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
  ...['Notes', 'pg_notes', 'notes,other', 'notes -c x=y', '"notes"', 'n'.repeat(64)].map(
    (DATABASE_SCHEMA): [NodeJS.ProcessEnv, string] => [
      { DATABASE_URL, DATABASE_SCHEMA },
      'DATABASE_SCHEMA must match pattern "^(?!pg_)[a-z_][a-z0-9_]{0,62}$"',
    ],
  ),
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=no%2Dverify` }, 'DATABASE_URL asks for TLS that verifies nothing'],
  [
    { DATABASE_URL: `${DATABASE_URL}?uselibpqcompat=true&sslmode=require` },
    'DATABASE_URL asks for TLS that verifies nothing',
  ],
])

t.test('a rotated password is read for the next connection', async (t) => {
  const url = await secretFile(t, DATABASE_URL)
  const password = await secretFile(t, 'first')
  const byUrl = connectionOptions(await configure(t, { DATABASE_URL_FILE: url }))
  const byVariables = connectionOptions(await configure(t, { POSTGRES_HOST: 'h', POSTGRES_PASSWORD_FILE: password }))
  t.same(await Promise.all([byUrl, byVariables].map(passwordOf)), ['hunter2', 'first'])
  await writeFile(url, DATABASE_URL.replace('hunter2', 'hunter3'))
  await writeFile(password, 'second')
  t.same(await Promise.all([byUrl, byVariables].map(passwordOf)), ['hunter3', 'second'])
})

function passwordOf({ password }: ReturnType<typeof connectionOptions>): unknown {
  return (password as () => Promise<string>)()
}

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

const tls: [NodeJS.ProcessEnv, boolean | object][] = [
  [{ DATABASE_URL }, false],
  [{ DATABASE_URL, NODE_ENV: 'production' }, true],
  [{ DATABASE_URL: 'postgres://user@localhost/app', NODE_ENV: 'production' }, false],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=disable`, NODE_ENV: 'production' }, false],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=require` }, {}],
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production' }, true],
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production', POSTGRES_SSLMODE: 'disable' }, false],
  [{ POSTGRES_HOST: 'db', POSTGRES_SSLMODE: 'verify-full' }, true],
]
for (const [variables, ssl] of tls) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    t.same(connectionOptions(await configure(t, variables)).ssl, ssl)
  })
}

const patience = () => AbortSignal.timeout(60_000)

t.test('a connection that is lost while it is asked is no lost database', async (t) => {
  const proxy = await TcpProxy.start(t, await database(t))
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL: proxy.url })), () => {})
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
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL })), () => {})
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

t.test('a statement timeout is a startup parameter, which PgBouncer refuses', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const service = new Service(t, { ...variables, DATABASE_STATEMENT_TIMEOUT_MS: '1000' })
  t.equal(await service.exited, 1)
  t.match(service.logs.at(-1), { err: { message: 'unsupported startup parameter: statement_timeout' } })
})
