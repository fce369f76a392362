import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { copyProject, database, event, MIGRATIONS, query, sharedDatabase, until } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { ask, Prober, probers, SHIPPED } from '../support/tools.ts'

// Most of what these tests do is wait.
t.jobs = 3

const SLOW_MIGRATION = {
  'migrations/99990101000000_slow.ts': `
    import { sql } from 'kysely'
    export const up = async (db) => {
      await sql\`create table slow ()\`.execute(db)
      await sql\`select pg_sleep(600)\`.execute(db)
    }`,
}

/** Up, alive, not ready, and says what for; then ready once the database is mended. */
async function waitsFor(t: Test, url: string, reason: string, mend: () => unknown) {
  const hangs = reason === 'timeout' && { DATABASE_CONNECT_TIMEOUT_MS: '500' }
  const service = new Service(t, { ...SHIPPED, ...hangs, DATABASE_URL: url })
  const address = await service.url()
  t.match(await service.logged('waiting for the database'), { level: 40, reason })
  const live = new Prober(t, `${address}/health/live`)
  const ready = new Prober(t, `${address}/health/ready`)
  t.match((await ready.next(503)).body, {
    status: 'not_ready',
    waitingFor: 'database',
    checks: { migrations: 'failed' },
  })
  t.equal((await ask(`${address}/health/live`)).status, 200)
  t.equal((await ask(`${address}/other`)).status, 503)
  t.match((await ask(`${address}/health`)).body, { status: 'unhealthy', waitingFor: 'database' })
  await mend()
  await ready.next(200)
  ready.inTime(t, live)
  const told = service.logs.filter(({ msg }) => msg === 'waiting for the database')
  for (const [index, line] of told.entries()) {
    t.not(line['reason'], told[index - 1]?.['reason'], 'one log line while the reason stays')
  }
}

t.test('the database', async (t) => {
  // Each test leaves it as it was. Few connections, so that one test can take them all.
  const postgres = await startPostgres({ settings: { max_connections: '4', superuser_reserved_connections: '0' } })
  t.teardown(() => postgres.close())

  await t.test('refuses', async (t) => {
    t.teardown(() => postgres.restore())
    await postgres.stop()
    await waitsFor(t, postgres.url, 'refused', () => postgres.start())
  })

  await t.test('hangs', async (t) => {
    t.teardown(() => postgres.restore())
    postgres.pause()
    await waitsFor(t, postgres.url, 'timeout', () => postgres.resume())
  })

  await t.test('is behind a network that swallows every packet', async (t) => {
    const proxy = await TcpProxy.start(t, postgres.url)
    proxy.swallow()
    await waitsFor(t, proxy.url, 'timeout', () => proxy.heal())
  })

  await t.test('is full', async (t) => {
    const others: pg.Client[] = []
    const fill = async () => {
      const client = new pg.Client(postgres.url)
      await client.connect()
      others.push(client)
    }
    // Until the connections of the test before are gone.
    await until(
      () =>
        fill().then(
          () => others.length,
          () => 0,
        ),
      (count) => count === 4,
    )
    await waitsFor(t, postgres.url, 'limit', () => Promise.all(others.map((client) => client.end())))
  })
})

t.test('the database’s name is not known: the service stays up and waits', async (t) => {
  const service = new Service(t, { ...SHIPPED, DATABASE_URL: 'postgres://user:hunter2@nowhere.invalid/app' })
  t.match(await service.logged('waiting for the database'), { reason: 'unreachable' })
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.notMatch(service.output, /hunter2/)
})

const skip = spawnSync('unshare', ['--mount', 'true']).status === 0 ? false : 'a mount namespace needs root'

/** Settings of a process whose only name server says nothing: a look-up takes longer than any test. */
async function unanswered(t: Test) {
  // Of this run alone: others can do the same at the same time, and all of them are this machine.
  const address = `127.${[0, 0, 0].map(() => randomInt(1, 255)).join('.')}`
  const silent = createSocket('udp4').bind(53, address)
  await event(silent, 'listening')
  t.teardown(() => silent.close())
  const directory = t.testdir({ 'resolv.conf': `nameserver ${address}\noptions timeout:30 attempts:5\n` })
  const mount = `mount --bind ${directory}/resolv.conf /etc/resolv.conf && exec "$@"`
  return { wrapper: ['unshare', '--mount', 'sh', '-c', mount, 'sh'] }
}

t.test('the name server does not answer', { skip }, async (t) => {
  const env = { ...SHIPPED, DATABASE_URL: 'postgres://user@database.example/app', REDIS_URL: 'redis://redis.example' }
  const service = new Service(t, env, await unanswered(t))
  const url = await service.url()
  t.match(await service.logged('waiting for the database'), { reason: 'timeout' })
  const { live, ready, health } = probers(t, url)
  for (let probe = 0; probe < 3; probe++) {
    await live.next(200)
    for (const prober of [ready, health]) {
      await prober.next(503)
      prober.inTime(t, live)
    }
  }
})

t.test('the name server says nothing of Redis: the database is found all the same', { skip }, async (t) => {
  const DATABASE_URL = (await sharedDatabase()).replace('@127.0.0.1:', '@localhost:')
  const tellSockets = `
    import { subscribe } from 'node:diagnostics_channel'
    subscribe('net.client.socket', () => console.log('{"msg":"connecting"}'))`
  const service = new Service(
    t,
    {
      ...SHIPPED,
      DATABASE_URL,
      REDIS_URL: 'redis://redis.example',
      REDIS_COMMAND_TIMEOUT_MS: '100', // it tries again and again
      NODE_OPTIONS: preload(tellSockets),
    },
    await unanswered(t),
  )
  const url = await service.url()
  await service.logged('ready')
  await until(
    async () => service.logs.filter(({ msg }) => msg === 'connecting').length,
    (sockets) => sockets > 8,
  )
  await query(
    DATABASE_URL,
    'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()',
  )
  await service.logged('database connection lost')
  const ready = await until(
    () => ask(`${url}/health/ready`),
    ({ status }) => status === 200,
  )
  t.match(ready.body, { checks: { database: 'passed', redis: 'failed' } })
})

t.test('eight replicas boot at once on an empty database: each migration is applied once', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  const replicas = Array.from(
    { length: 8 },
    () => new Service(t, { DATABASE_URL, DATABASE_CONNECT_TIMEOUT_MS: '60000' }),
  )
  await Promise.all(replicas.map((replica) => replica.logged('ready')))
  const applied = replicas.flatMap(({ logs }) => logs.filter(({ msg }) => msg === 'migrated'))
  t.equal(applied.length, MIGRATIONS.length)
})

async function migrating(t: Test) {
  const directory = await copyProject(t, SLOW_MIGRATION)
  const DATABASE_URL = await database(t)
  const service = new Service(t, { ...SHIPPED, DATABASE_URL }, { source: directory })
  const sleeping =
    "select pid from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid() and datname = current_database()"
  await until(
    () => query(DATABASE_URL, sleeping),
    (rows) => rows.length === 1,
  )
  return { service, DATABASE_URL, directory, sleeping }
}

t.test('another replica migrates: not ready, and says so', async (t) => {
  const { DATABASE_URL, directory, sleeping } = await migrating(t)
  const second = new Service(t, { ...SHIPPED, DATABASE_URL }, { source: directory })
  const url = await second.url()
  await second.logged('another process migrates')
  t.match((await ask(`${url}/health/ready`)).body, { status: 'not_ready', waitingFor: 'migration lock' })
  await query(DATABASE_URL, `select pg_cancel_backend(pid) from (${sleeping}) as running`)
})

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  t.test(`${signal} while a migration runs: rolled back, the lock released, and the next one succeeds`, async (t) => {
    const { service, DATABASE_URL, sleeping } = await migrating(t)
    service.child.kill(signal)
    t.equal(await service.exited, signal === 'SIGTERM' ? 0 : null)
    await until(
      () => query(DATABASE_URL, sleeping),
      (rows) => rows.length === 0,
    )
    t.same(await query(DATABASE_URL, "select 1 from pg_tables where tablename = 'slow'"), [])
    t.same(
      await query(
        DATABASE_URL,
        "select 1 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
      ),
      [],
    )
    const next = await copyProject(t, {
      'migrations/99990101000000_slow.ts':
        "import { sql } from 'kysely'\nexport const up = (db) => sql`select`.execute(db)",
    })
    await new Service(t, { DATABASE_URL }, { source: next }).logged('ready')
  })
}
