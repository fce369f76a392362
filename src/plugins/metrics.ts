import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import type { Counter, Histogram } from '@prometheus-io/client'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf } from '../reasons.ts'
import { service } from '../service.ts'

type Values = [labels: Record<string, string>, value: number][]

/** What is read when it is scraped: a counter if its name ends in `_total`, else a gauge. */
type Source = [name: string, help: string, labelNames: string[], read: () => Values | Promise<Values>]

/** OpenTelemetry's buckets for the duration of a request, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const DELAY_RESOLUTION_MS = 10
const POOL = { db_client_connection_pool_name: 'database' }

/**
 * `/metrics` for Prometheus, if `METRICS` says so. Names are OpenTelemetry's where it has one, spelt as its specification
 * of Prometheus compatibility translates them. A scrape asks the backends no more than a probe does.
 */
export default fp(
  async function metrics(fastify) {
    if (!fastify.config.METRICS) return
    // A CommonJS package: bundled it has no names, only this.
    const { default: prometheus } = await import('@prometheus-io/client')
    const registry = new prometheus.Registry()
    const registers = [registry]
    const counter = (name: string, help: string, labelNames: string[]) =>
      new prometheus.Counter({ name, help, labelNames, registers })

    const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
    delay.enable()
    fastify.addHook('onClose', async () => void delay.disable())

    for (const [name, help, labelNames, read] of [...ofService(fastify), ...ofProcess(delay)]) {
      const collect = async () => {
        const values = await read()
        metric.reset()
        for (const [labels, value] of values) metric.inc(labels, value)
      }
      const Metric = name.endsWith('_total') ? prometheus.Counter : prometheus.Gauge
      const metric = new Metric<string>({ name, help, labelNames, registers, collect })
    }
    const duration = new prometheus.Histogram({
      name: 'http_server_request_duration_seconds',
      help: 'Duration of requests, probes and scrapes aside',
      labelNames: ['http_request_method', 'http_route', 'http_response_status_code'],
      buckets: BUCKETS,
      registers,
    })
    observeRequests(fastify, duration)
    countTimeouts(
      fastify,
      counter('db_client_connection_timeouts_total', 'Callers that got no connection in time', Object.keys(POOL)),
    )
    countLookups(
      fastify,
      counter('cache_lookups_total', 'Lookups of the cache by function and result, hit or miss', ['cache', 'result']),
    )

    fastify.get('/metrics', { config: { duringStart: true, quiet: true } }, async (_, reply) => {
      const answer = await registry.metrics()
      delay.reset()
      reply.type(registry.contentType).header('cache-control', 'no-store')
      return answer
    })
  },
  { name: 'metrics', fastify: '5.x', dependencies: ['env', 'health', 'database', 'cache', 'migrations'] },
)

function ofService({ health, migrations, pg: { pool } }: FastifyInstance): Source[] {
  const names = Object.keys(POOL)
  return [
    [
      'target_info',
      'Name and version of the service',
      ['service_name', 'service_version'],
      () => [[{ service_name: service.name, service_version: service.version }, 1]],
    ],
    [
      'db_client_connection_count',
      'Connections by state',
      [...names, 'db_client_connection_state'],
      () => [
        [{ ...POOL, db_client_connection_state: 'idle' }, pool.idleCount],
        [{ ...POOL, db_client_connection_state: 'used' }, pool.totalCount - pool.idleCount],
      ],
    ],
    ['db_client_connection_max', 'Connections at the most', names, () => [[POOL, pool.options.max]]],
    ['db_client_connection_pending_requests', 'Callers that wait for one', names, () => [[POOL, pool.waitingCount]]],
    [
      'health_check_status',
      '1: the check passes, 0: it fails',
      ['check'],
      async () => Array.from(await health.results(), ([check, { status }]) => [{ check }, status === 'ok' ? 1 : 0]),
    ],
    [
      'health_check_latency_seconds',
      'Latency of a check that passes',
      ['check'],
      async () =>
        Array.from(await health.results()).flatMap(([check, { latencyMs }]) =>
          latencyMs === null ? [] : [[{ check }, latencyMs / 1_000]],
        ),
    ],
    [
      'migrations',
      'Migrations by state, as boot left them',
      ['state'],
      () => Object.entries(migrations.state ?? {}).map(([state, names]) => [{ state }, names.length]),
    ],
  ]
}

function ofProcess(delay: ReturnType<typeof monitorEventLoopDelay>): Source[] {
  // Node measures how long a timer takes that is due after the resolution.
  const late = (ns: number) => Math.max(0, ns / 1e9 - DELAY_RESOLUTION_MS / 1e3)
  const loop = 'nodejs_eventloop'
  return [
    [`${loop}_delay_max_seconds`, 'The latest a timer was since the last scrape', [], () => [[{}, late(delay.max)]]],
    [`${loop}_delay_p99_seconds`, 'The same but for 1 %', [], () => [[{}, late(delay.percentile(99))]]],
    [
      `${loop}_time_seconds_total`,
      'Time of the event loop by state',
      [`${loop}_state`],
      () => {
        const { active, idle } = performance.eventLoopUtilization()
        return [
          [{ [`${loop}_state`]: 'active' }, active / 1e3],
          [{ [`${loop}_state`]: 'idle' }, idle / 1e3],
        ]
      },
    ],
    [
      'process_cpu_time_seconds_total',
      'CPU time by mode',
      ['cpu_mode'],
      () => Object.entries(process.cpuUsage()).map(([mode, us]) => [{ cpu_mode: mode }, us / 1e6]),
    ],
    ['process_memory_usage_bytes', 'Resident memory', [], () => [[{}, process.memoryUsage.rss()]]],
    ['process_uptime_seconds', 'Age of the process', [], () => [[{}, process.uptime()]]],
    [
      'v8js_memory_heap_used_bytes',
      'Heap in use by space',
      ['v8js_heap_space_name'],
      () => getHeapSpaceStatistics().map((heap) => [{ v8js_heap_space_name: heap.space_name }, heap.space_used_size]),
    ],
  ]
}

/** By route pattern, without one where there is no route; a method that Fastify does not serve is `_OTHER`. */
function observeRequests(fastify: FastifyInstance, duration: Histogram<string>): void {
  const methods = new Set(fastify.supportedMethods)
  fastify.addHook('onResponse', (request, reply, done) => {
    const { config, url } = request.routeOptions
    if (!config.quiet) {
      const labels = {
        http_request_method: methods.has(request.method) ? request.method : '_OTHER',
        http_response_status_code: reply.statusCode,
        ...(url !== undefined && { http_route: url }),
      }
      duration.observe(labels, reply.elapsedTime / 1_000)
    }
    done()
  })
}

/** The pool tells of a timeout nobody but the caller: Kysely with a promise, `pool.query` with a callback. */
function countTimeouts({ pg }: FastifyInstance, timeouts: Counter<string>): void {
  timeouts.inc(POOL, 0)
  const look = (err: unknown) => {
    if (err && reasonOf(err) === 'timeout') timeouts.inc(POOL)
  }

  type Callback = (err: unknown, ...rest: unknown[]) => void
  const connect = pg.pool.connect.bind(pg.pool) as (callback?: Callback) => Promise<unknown>
  const watched = (callback?: Callback) => {
    if (callback) {
      return connect((err, ...rest) => {
        look(err)
        callback(err, ...rest)
      })
    }
    const answer = connect()
    answer.catch(look)
    return answer
  }
  pg.pool.connect = pg.connect = watched as typeof pg.connect
}

/** async-cache-dedupe tells of hits and misses those who define a function. */
function countLookups({ cache }: FastifyInstance, lookups: Counter<string>): void {
  type Listener = (key: string) => void
  type Options = { onHit?: Listener; onMiss?: Listener }
  const define = cache.define.bind(cache) as (name: string, ...rest: unknown[]) => unknown
  const watched = (name: string, options: Options, load?: unknown) => {
    const count =
      (result: string, tell: Listener = () => {}): Listener =>
      (key) => {
        lookups.inc({ cache: name, result })
        tell(key)
      }
    // Without options there is no time to live: nothing is looked up.
    if (!load) return define(name, options)
    return define(name, { ...options, onHit: count('hit', options.onHit), onMiss: count('miss', options.onMiss) }, load)
  }
  cache.define = watched as typeof cache.define
}
