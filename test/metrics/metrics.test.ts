import { METHODS } from 'node:http'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HTTPMethods } from 'fastify'
import { getMetricsFromIterator } from 'prom2javascript'
import t from 'tap'
import { build, unstarted } from '../support/app.ts'
import { sharedDatabase, until } from '../support/helper.ts'
import { OWN, samples, value } from '../support/metrics.ts'
import { Service } from '../support/process.ts'

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
  await app.inject('/things/1')
  const answer = await app.inject('/metrics')
  t.match(app.logs.at(-1), { level: 20, msg: 'request', route: '/metrics' }, 'as a probe is')
  t.match(answer.headers, { 'content-type': /^text\/plain; version=0.0.4/, 'cache-control': 'no-store' })

  const metrics = await getMetricsFromIterator(answer.body.split('\n').values())
  const types = Object.entries(metrics).map(([name, { type }]) => `${name} ${type}`)
  for (const metric of [
    'target_info gauge',
    'health_check_status gauge',
    'health_check_latency_seconds gauge',
    'db_client_connection_count gauge',
    'db_client_connection_max gauge',
    'db_client_connection_pending_requests gauge',
    'db_client_connection_timeouts_total counter',
    'migrations gauge',
    'nodejs_eventloop_delay_max_seconds gauge',
    'nodejs_eventloop_delay_p99_seconds gauge',
    'nodejs_eventloop_time_seconds_total counter',
    'process_cpu_time_seconds_total counter',
    'process_memory_usage_bytes gauge',
    'process_uptime_seconds gauge',
    'v8js_memory_heap_used_bytes gauge',
    'http_server_request_duration_seconds histogram',
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
    [{ http_request_method: '_OTHER', http_response_status_code: '404' }],
  )
})

t.test('a blocked event loop shows', async (t) => {
  const app = await build(t, OWN)
  const blocked = await until(
    async () => {
      const end = performance.now() + 100
      while (performance.now() < end);
      await sleep(20) // lets the timer that is late run
      return value(app, 'nodejs_eventloop_delay_max_seconds')
    },
    (seconds = 0) => seconds > 0.05,
  )
  t.ok(blocked)
  t.ok(((await value(app, 'nodejs_eventloop_time_seconds_total', { nodejs_eventloop_state: 'active' })) ?? 0) > 0.05)
})
