import { EventEmitter } from 'node:events'
import { get, METHODS } from 'node:http'
import { createRequire } from 'node:module'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HTTPMethods } from 'fastify'
import { sql } from 'kysely'
import { getMetricsFromIterator } from 'prom2javascript'
import t from 'tap'
import { type App, build, unstarted } from '../support/app.ts'
import { database, event, MIGRATIONS, sharedDatabase, until } from '../support/helper.ts'
import { OWN, samples, value } from '../support/metrics.ts'
import { Service } from '../support/process.ts'
import { ROUTES } from '../support/tools.ts'

t.test('off, there is no route, and the library is not even loaded', async (t) => {
  const { cache } = createRequire(import.meta.url)
  const loaded = () => Object.keys(cache).some((file) => file.includes('@prometheus-io'))
  const off = await build(t, { MIGRATIONS: 'off' })
  t.equal((await off.inject('/metrics')).statusCode, 404)
  t.notOk(loaded())
  await build(t, OWN)
  t.ok(loaded())
})

t.test('Prometheus can read it', async (t) => {
  const app = await build(t, { METRICS: 'true' }, async (fastify) => {
    fastify.get('/things/:id', async () => 'thing')
  })
  for (const url of ['/things/1', '/%']) await app.inject(url)
  await app.pg.query('select 1')
  const answer = await app.inject('/metrics')
  t.match(app.logs.at(-1), { level: 20, msg: 'request', route: '/metrics' }, 'as a probe is')
  t.match(answer.headers, { 'content-type': /^text\/plain; version=0.0.4/, 'cache-control': 'no-store' })

  const metrics = await getMetricsFromIterator(answer.body.split('\n').values())
  const types = Object.entries(metrics).map(([name, { type }]) => `${name} ${type}`)
  for (const metric of [
    'target_info gauge',
    'lifecycle_phase gauge',
    'health_ready gauge',
    'health_check_status gauge',
    'health_check_latency_seconds gauge',
    'db_client_connection_count gauge',
    'db_client_connection_max gauge',
    'db_client_connection_pending_requests gauge',
    'db_client_connection_timeouts_total counter',
    'db_client_connection_wait_time_seconds histogram',
    'migrations gauge',
    'nodejs_eventloop_delay_max_seconds gauge',
    'nodejs_eventloop_delay_p99_seconds gauge',
    'nodejs_eventloop_time_seconds_total counter',
    'process_cpu_time_seconds_total counter',
    'process_memory_usage_bytes gauge',
    'process_uptime_seconds gauge',
    'process_start_time_seconds gauge',
    'v8js_memory_heap_used_bytes gauge',
    'v8js_heap_size_limit_bytes gauge',
    'http_server_request_duration_seconds histogram',
    'http_server_refused_requests_total counter',
    'http_server_dropped_connections_total counter',
    'log_lines_lost_total counter',
  ]) {
    t.ok(types.includes(metric), metric)
  }
  for (const [name, { help, data }] of Object.entries(metrics)) {
    t.ok(help, `${name} has help`)
    t.ok(data.length > 0, `${name} has values`)
    for (const sample of data) t.ok('value' in sample ? sample.value >= 0 : 'count' in sample, `${name} is a number`)
  }
})

t.test('a service says there what it does', async (t) => {
  const service = new Service(t, { DATABASE_URL: await sharedDatabase(), METRICS: 'true' })
  const url = await service.url()
  await service.logged('ready')
  const text = await (await fetch(`${url}/metrics`)).text()
  t.match(text, 'health_check_status{check="database"} 1\n')
  t.match(text, 'migrations{state="pending"} 0\n')
  t.match(text, /\nprocess_memory_usage_bytes \d{7,}\n/)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

t.test('it answers while the service starts', async (t) => {
  const app = await unstarted(t, { METRICS: 'true', DATABASE_URL: 'postgres://localhost:1/nowhere' })
  t.equal(await value(app, 'health_check_status', { check: 'database' }), 0)
  t.equal(await value(app, 'health_check_latency_seconds', { check: 'database' }), undefined)
  t.equal(await value(app, 'migrations', { state: 'pending' }), undefined, 'nobody knows yet')
})

t.test('a hundred scrapes cost one check and no connection of the pool', async (t) => {
  const app = await build(t, { ...OWN, HEALTH_CACHE_MS: '60000' })
  let checks = 0
  let acquired = 0
  app.health.add({
    name: 'counted',
    required: false,
    check: async () => {
      checks++
    },
  })
  app.pg.pool.on('acquire', () => {
    acquired++
  })
  await Promise.all(Array.from({ length: 50 }, () => app.inject('/metrics')))
  for (let i = 0; i < 50; i++) await app.inject('/metrics')
  t.equal(checks, 1)
  t.equal(acquired, 0)
})

t.test('requests are counted by pattern; probes and scrapes are not', async (t) => {
  const app = await build(t, OWN, async (fastify) => {
    fastify.get('/things/:id', async () => 'thing')
  })
  for (const url of ['/things/1', '/things/2?token=hunter2', '/health', '/metrics']) await app.inject(url)
  t.match(await samples(app, 'http_server_request_duration_seconds'), [
    {
      labels: { http_request_method: 'GET', http_route: '/things/:id', http_response_status_code: '200' },
      count: 2,
      buckets: { 10: 2, '+Inf': 2 },
    },
  ])
})

t.test('what no route got to see is counted', async (t) => {
  const app = await build(t, OWN)
  await app.inject('/%')
  t.equal(await value(app, 'http_server_refused_requests_total', { http_response_status_code: '400' }), 1)
})

t.test('a client that goes away before the end of its answer is counted', async (t) => {
  const asked = new EventEmitter()
  const app = await build(t, OWN, async (fastify) => {
    fastify.addHook('preHandler', async () => void setImmediate(() => asked.emit('asked')))
    fastify.get('/slow', () => new Promise(() => {}))
    fastify.get('/large', async () => 'x'.repeat(50_000_000))
  })
  const url = await app.listen({ port: 0 })
  for (const [route, sent] of [
    ['/slow', {}],
    ['/large', { http_response_status_code: '200' }],
  ] as const) {
    const asks = event(asked, 'asked')
    const client = get(url + route).on('error', () => {})
    await asks
    client.destroy()
    const [sample] = await until(
      () => samples(app, 'http_server_request_duration_seconds', { http_route: route }),
      ({ length }) => length > 0,
    )
    t.match(sample, { count: 1 })
    const labels = { http_request_method: 'GET', url_scheme: 'http', http_route: route, error_type: 'aborted' }
    t.same(sample?.labels, { ...labels, ...sent })
  }
})

t.test('lines of the log that nobody reads are counted', async (t) => {
  const service = new Service(t, { ...ROUTES, DATABASE_URL: await sharedDatabase(), METRICS: 'true' })
  const url = await service.url()
  service.child.stdout?.pause()
  const scrape = async () => (await fetch(`${url}/metrics`)).text()
  t.match(await scrape(), 'log_lines_lost_total 0\n')
  await until(
    () => fetch(`${url}/log/5000`).then(scrape),
    (text) => /^log_lines_lost_total [1-9]/m.test(text),
  )
})

t.test('random URLs and methods make no more series', async (t) => {
  const app = await build(t, OWN, async (fastify) => {
    fastify.get('/things/:id', async () => 'thing')
  })
  const storm = async () => {
    for (let i = 0; i < 100; i++) await app.inject(`/${Math.random()}?${Math.random()}`)
    for (let i = 0; i < 100; i++) await app.inject(`/things/${Math.random()}`)
    for (const method of METHODS) await app.inject({ method: method as HTTPMethods, url: `/${Math.random()}` })
    return (await app.inject('/metrics')).body.split('\n').length
  }
  const first = await storm()
  t.equal(await storm(), first)
  const series = await samples(app, 'http_server_request_duration_seconds')
  t.ok(series.length < 12, 'the methods that Fastify serves, and one more')
  t.same(
    series.filter(({ labels }) => labels['http_request_method'] === '_OTHER').map(({ labels }) => labels),
    [{ http_request_method: '_OTHER', url_scheme: 'http', http_response_status_code: '404' }],
  )
})

const MAX = 'nodejs_eventloop_delay_max_seconds'

/** Blocks the event loop until it shows. */
function block(app: App, seconds = 0.1): Promise<unknown> {
  return until(
    async () => {
      const end = performance.now() + seconds * 1_000
      while (performance.now() < end);
      await sleep(20) // lets the timer that is late run
      return value(app, MAX)
    },
    (seen = 0) => seen > seconds / 2,
  )
}

t.test('a blocked event loop shows, to every scraper', async (t) => {
  const app = await build(t, OWN)
  await block(app)
  const seen = await value(app, MAX)
  await app.inject({ method: 'HEAD', url: '/metrics' })
  t.ok(((await value(app, MAX)) ?? 0) >= (seen as number))
  t.ok(((await value(app, 'nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'active' })) ?? 0) > 0.05)
})

t.test('for one minute to two', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const app = await build(t, OWN)
  // Of two seconds, beside which the delays of a busy machine are short.
  await block(app, 2)
  mock.timers.tick(60_000)
  t.ok(((await value(app, MAX)) ?? 0) > 1)
  mock.timers.tick(60_000)
  t.ok(((await value(app, MAX)) ?? 0) < 1)
})

t.test('a HEAD asks nothing', async (t) => {
  const app = await build(t, OWN)
  let checks = 0
  app.health.add({ name: 'counted', required: false, check: async () => void checks++ })
  const { statusCode, headers, body } = await app.inject({ method: 'HEAD', url: '/metrics' })
  t.match({ statusCode, headers, body }, { statusCode: 200, headers: { 'content-type': /version=0.0.4/ }, body: '' })
  t.equal(checks, 0)
})

const pool = (state: string) => ({ db_client_connection_pool_name: 'database', db_client_connection_state: state })

t.test('connections are counted by state, and who waits for one', async (t) => {
  const app = await build(t, { ...OWN, DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  t.equal(await value(app, 'db_client_connection_max'), 1)
  const client = await app.pg.connect()
  t.equal(await value(app, 'db_client_connection_count', pool('used')), 1)
  t.equal(await value(app, 'db_client_connection_count', pool('idle')), 0)

  const waiting = app.pg.connect()
  t.equal(await value(app, 'db_client_connection_pending_requests'), 1)
  client.release()
  ;(await waiting).release()
  t.equal(await value(app, 'db_client_connection_pending_requests'), 0)
  t.equal(await value(app, 'db_client_connection_count', pool('used')), 0)
  t.equal(await value(app, 'db_client_connection_count', pool('idle')), 1)
})

t.test('who gets no connection in time is counted', async (t) => {
  const app = await build(t, { ...OWN, DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '1000' })
  const timeouts = () => value(app, 'db_client_connection_timeouts_total')
  const client = await until(
    () => app.pg.connect().catch(() => undefined),
    (client) => client !== undefined,
  )
  const before = (await timeouts()) ?? 0
  await Promise.all([
    t.rejects(sql`select 1`.execute(app.db), { message: /timeout/ }),
    t.rejects(app.pg.query('select 1'), { message: /timeout/ }),
  ])
  t.equal(await timeouts(), before + 2)

  client?.release()
  t.match(await app.pg.query('select 1 as one'), { rows: [{ one: 1 }] })
  t.equal(await timeouts(), before + 2)
})

t.test('a database that refuses is no timeout', async (t) => {
  const app = await unstarted(t, { METRICS: 'true', DATABASE_URL: 'postgres://localhost:1/nowhere' })
  await t.rejects(app.pg.connect(), { code: 'ECONNREFUSED' })
  await t.rejects(app.pg.query('select 1'), { code: 'ECONNREFUSED' })
  t.equal(await value(app, 'db_client_connection_timeouts_total'), 0)
})

t.test('migrations are what boot left', async (t) => {
  const app = await build(t, { METRICS: 'true', DATABASE_URL: await database(t, { empty: true }) })
  t.equal(await value(app, 'migrations', { state: 'applied' }), MIGRATIONS.length)
  t.equal(await value(app, 'migrations', { state: 'pending' }), 0)
  t.equal(await value(app, 'migrations', { state: 'unknown' }), 0)
})
