import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { service } from '../../src/core/service.ts'
import { build, unstarted } from '../support/app.ts'
import { database, MIGRATIONS, query, until } from '../support/helper.ts'

const OK = { status: 'ok', latencyMs: Number }
const SERVICES = { database: OK, redis: OK }
const CHECKS = { database: 'passed', redis: 'passed' }

t.test('the four routes of a healthy service', async (t) => {
  const app = await build(t)

  const live = await app.inject('/health/live')
  t.equal(live.statusCode, 200)
  t.same(live.json(), { status: 'ok' })

  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 200)
  t.same(ready.json(), { status: 'ready', checks: { ...CHECKS, migrations: 'passed' } })

  const health = await app.inject('/health')
  t.equal(health.statusCode, 200)
  t.match(health.json(), {
    status: 'healthy',
    service: service.name,
    version: service.version,
    uptimeSeconds: Number,
    services: SERVICES,
  })

  const db = await app.inject('/health/db')
  t.equal(db.statusCode, 200)
  t.match(db.json(), {
    status: 'ok',
    database: /^test_/,
    version: /^\d+\.\d+/,
    latencyMs: Number,
    pool: { max: 10, total: Number, idle: Number, waiting: 0 },
    migrations: { applied: MIGRATIONS.length, pending: 0, unknown: 0, last: MIGRATIONS.at(-1) },
  })
})

t.test('HEAD answers as GET does, without a body, and nothing is cached', async (t) => {
  const app = await build(t)
  for (const url of ['/health/live', '/health/ready', '/health', '/health/db']) {
    const get = await app.inject(url)
    const head = await app.inject({ method: 'HEAD', url })
    t.equal(head.statusCode, 200, url)
    t.equal(head.body, '')
    t.equal(head.headers['content-type'], 'application/json; charset=utf-8')
    for (const answer of [get, head]) {
      t.equal(answer.headers['cache-control'], 'no-store')
      t.equal(answer.headers['retry-after'], undefined)
    }
  }
})

t.test('what no check says shows at once, also while their last results serve every probe', async (t) => {
  const app = await unstarted(t, { HEALTH_CACHE_MS: '60000' })
  const ready = async () => (await app.inject('/health/ready')).json()
  const health = async () => (await app.inject('/health')).json()
  const checks = { ...CHECKS, migrations: 'failed' }
  const starting = await until(ready, (answer) => isDeepStrictEqual(answer.checks, checks))
  t.match(starting, { status: 'not_ready' })

  await app.lifecycle.start()
  const { uptimeSeconds, services } = await health()
  t.match(await ready(), { status: 'ready', checks: { database: 'passed', migrations: 'passed' } })
  t.same((await until(health, (answer) => answer.uptimeSeconds > uptimeSeconds)).services, services)

  app.lifecycle.drain()
  t.match(await ready(), { status: 'not_ready', draining: true })
  t.match(await health(), { status: 'unhealthy' })
})

t.test('/health/db is not there unless asked for', async (t) => {
  const app = await build(t, { HEALTH_DETAILS: 'false' })
  t.equal((await app.inject('/health/db')).statusCode, 404)
})

t.test(
  '/health/db asks the database once for all who see the same checks, and anew when a connection is lost',
  async (t) => {
    const DATABASE_URL = await database(t)
    const app = await build(t, { DATABASE_URL, HEALTH_CACHE_MS: '600000' })
    const unknown = async () => (await app.inject('/health/db')).json().migrations.unknown
    await Promise.all(Array.from({ length: 50 }, unknown))
    let asked = 0
    app.pg.pool.on('acquire', () => asked++)
    await query(DATABASE_URL, "insert into kysely_migration values ('99991231000000_newer', now()::text)")
    for (let i = 0; i < 1_000; i++) {
      t.equal(await unknown(), 0)
      t.equal((await app.inject({ method: 'HEAD', url: '/health/db' })).statusCode, 200)
    }
    t.equal(asked, 0)

    await query(
      DATABASE_URL,
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    )
    await until(unknown, (count) => count === 1)
  },
)

for (const HEALTH_CACHE_MS of ['0', '600000']) {
  t.test(
    `/health/db answers while the pool is exhausted, and has one caller wait there (${HEALTH_CACHE_MS})`,
    async (t) => {
      const app = await build(t, { DATABASE_POOL_MAX: '1', HEALTH_TIMEOUT_MS: '300', HEALTH_CACHE_MS })
      const held = await app.pg.connect()
      const busy = { status: 'ok', database: null, migrations: { applied: null }, pool: { idle: 0, waiting: 1 } }
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(Array.from({ length: 50 }, () => app.inject('/health/db')))
        for (const answer of answers) t.match(answer.json(), busy)
      }
      held.release()
      const db = async () => (await app.inject('/health/db')).json()
      t.match(await until(db, (answer) => answer.database !== null), { migrations: { applied: MIGRATIONS.length } })
    },
  )
}

t.test('before its start tasks the service lives, is not ready, and keeps its other routes shut', async (t) => {
  const app = await unstarted(t)
  t.equal((await app.inject('/health/live')).statusCode, 200)
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.equal(ready.headers['retry-after'], '1')
  t.match(ready.json(), { status: 'not_ready', checks: { database: 'passed', migrations: 'failed' } })
  const health = await app.inject('/health')
  t.equal(health.statusCode, 503)
  t.match(health.json(), { status: 'unhealthy' })
  const other = await app.inject('/anything')
  t.equal(other.statusCode, 503)
  t.equal(other.headers['retry-after'], '1')
  t.match(other.json(), { statusCode: 503, error: 'Service Unavailable' })
  app.lifecycle.drain()
  t.equal((await app.inject('/anything')).statusCode, 503, 'nor does it begin to answer when it is told to leave')
})

t.test('a draining service lives, and is not ready', async (t) => {
  const app = await build(t)
  app.lifecycle.drain()
  t.equal((await app.inject('/health/live')).statusCode, 200)
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { status: 'not_ready', draining: true, checks: { database: 'passed' } })
  t.equal((await app.inject('/health')).json().status, 'unhealthy')
  t.equal((await app.inject('/anything')).statusCode, 404, 'other routes answer as before')
})

t.test('probes share an answer for as long as it is true', async (t) => {
  const app = await build(t, { HEALTH_CACHE_MS: '60000' })
  for (const url of ['/health', '/health', '/health/ready', '/health/ready']) {
    t.equal((await app.inject(url)).statusCode, 200)
  }
  const uptime = async () => (await app.inject('/health')).json().uptimeSeconds
  const before = await uptime()
  await until(uptime, (seconds) => seconds > before)
  app.lifecycle.drain()
  t.equal((await app.inject('/health')).json().status, 'unhealthy')
  t.match((await app.inject('/health/ready')).json(), { status: 'not_ready', draining: true })
})

t.test('MIGRATIONS=off asks nothing of the schema, and says nothing of it', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off', DATABASE_URL: await database(t, { empty: true }) })
  t.notOk('migrations' in (await app.inject('/health/ready')).json().checks)
  t.match((await app.inject('/health/db')).json().migrations, { applied: 0, pending: MIGRATIONS.length, last: null })
})

t.test("a check of the template's user shows in both answers", async (t) => {
  const app = await build(t)
  app.health.add({
    name: 'payments',
    required: true,
    check: async () => {
      throw new Error('postgres://user:hunter2@host is what no answer may say')
    },
  })
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.equal(ready.json().checks.payments, 'failed')
  const health = await app.inject('/health')
  t.match(health.json(), {
    status: 'unhealthy',
    services: { payments: { status: 'error', latencyMs: null, reason: 'error' } },
  })
  t.notMatch(health.body, /hunter2|host/)
})

async function databaseStopped(t: Test, env: NodeJS.ProcessEnv = {}) {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const app = await build(t, { DATABASE_URL: postgres.url, ...env })
  t.equal((await app.inject('/health')).statusCode, 200)
  await postgres.stop()
  return { app, postgres }
}

t.test('PostgreSQL stopped: unhealthy and not ready; both well when it is back', async (t) => {
  const { app, postgres } = await databaseStopped(t)
  const health = await app.inject('/health')
  t.equal(health.statusCode, 503)
  t.match(health.json(), {
    status: 'unhealthy',
    services: { ...SERVICES, database: { status: 'error', latencyMs: null, reason: 'refused' } },
  })
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { status: 'not_ready', checks: { ...CHECKS, database: 'failed', migrations: 'passed' } })
  const db = await app.inject('/health/db')
  t.equal(db.statusCode, 503)
  t.match(db.json(), { status: 'error', database: null, version: null, latencyMs: null, reason: 'refused' })
  t.equal((await app.inject('/health/live')).statusCode, 200)

  await postgres.start()
  t.equal((await app.inject('/health/ready')).statusCode, 200)
  t.equal((await app.inject('/health')).json().status, 'healthy')
})

t.test('READINESS_REQUIRES empty: only start and drain decide', async (t) => {
  const { app } = await databaseStopped(t, { READINESS_REQUIRES: '' })
  t.equal((await app.inject('/health/ready')).statusCode, 200)
  t.equal((await app.inject('/health')).json().status, 'degraded')
})
