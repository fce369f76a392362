import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import type { Counter, Histogram } from '@prometheus-io/client'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf } from '../reasons.ts'
import { service } from '../service.ts'

/** What a scrape reads: a counter if its name ends in `_total`, else a gauge. All its values have the same labels. */
type Reading = [name: string, help: string, values: [labels: Record<string, string>, value: number][]]

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
    const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
    delay.enable()
    fastify.addHook('onClose', async () => void delay.disable())

    const counted = new prometheus.Registry()
    const registers = [counted]
    observeRequests(
      fastify,
      new prometheus.Histogram({
        name: 'http_server_request_duration_seconds',
        help: 'Duration of requests, probes and scrapes aside',
        labelNames: ['http_request_method', 'http_route', 'http_response_status_code'],
        buckets: BUCKETS,
        registers,
      }),
    )
    const counter = (name: string, help: string, labelNames: string[]) =>
      new prometheus.Counter({ name, help, labelNames, registers })
    countTimeouts(
      fastify,
      counter('db_client_connection_timeouts_total', 'Callers that got no connection in time', Object.keys(POOL)),
    )
    countLookups(
      fastify,
      counter('cache_lookups_total', 'Lookups of the cache by function and result, hit or miss', ['cache', 'result']),
    )

    fastify.get('/metrics', { config: { duringStart: true, quiet: true } }, async (_, reply) => {
      const read = new prometheus.Registry()
      for (const [name, help, values] of [...(await ofService(fastify)), ...ofProcess(delay)]) {
        const [first] = values
        if (!first) continue // without labels it would be 0
        const Metric = name.endsWith('_total') ? prometheus.Counter : prometheus.Gauge
        const metric = new Metric<string>({ name, help, labelNames: Object.keys(first[0]), registers: [read] })
        for (const [labels, value] of values) metric.inc(labels, value)
      }
      delay.reset()
      reply.type(read.contentType).header('cache-control', 'no-store')
      return `${await read.metrics()}\n${await counted.metrics()}`
    })
  },
  { name: 'metrics', fastify: '5.x', dependencies: ['env', 'health', 'database', 'cache', 'migrations'] },
)

async function ofService({ health, migrations, pg: { pool } }: FastifyInstance): Promise<Reading[]> {
  const checks = Array.from(await health.results())
  return [
    [
      'target_info',
      'Name and version of the service',
      [[{ service_name: service.name, service_version: service.version }, 1]],
    ],
    [
      'db_client_connection_count',
      'Connections by state',
      [
        [{ ...POOL, db_client_connection_state: 'idle' }, pool.idleCount],
        [{ ...POOL, db_client_connection_state: 'used' }, pool.totalCount - pool.idleCount],
      ],
    ],
    ['db_client_connection_max', 'Connections at the most', [[POOL, pool.options.max]]],
    ['db_client_connection_pending_requests', 'Callers that wait for one', [[POOL, pool.waitingCount]]],
    [
      'health_check_status',
      '1: the check passes, 0: it fails',
      checks.map(([check, { status }]) => [{ check }, status === 'ok' ? 1 : 0]),
    ],
    [
      'health_check_latency_seconds',
      'Latency of a check that passes',
      checks.flatMap(([check, { latencyMs }]) => (latencyMs === null ? [] : [[{ check }, latencyMs / 1_000]])),
    ],
    [
      'migrations',
      'Migrations by state, as boot left them',
      Object.entries(migrations.state ?? {}).map(([state, names]) => [{ state }, names.length]),
    ],
  ]
}

function ofProcess(delay: ReturnType<typeof monitorEventLoopDelay>): Reading[] {
  // Node measures how long a timer takes that is due after the resolution.
  const late = (ns: number) => Math.max(0, ns / 1e9 - DELAY_RESOLUTION_MS / 1e3)
  const { active, idle } = performance.eventLoopUtilization()
  return [
    ['nodejs_eventloop_delay_max_seconds', 'The latest a timer was since the last scrape', [[{}, late(delay.max)]]],
    ['nodejs_eventloop_delay_p99_seconds', 'The same but for 1 %', [[{}, late(delay.percentile(99))]]],
    [
      'nodejs_eventloop_time_seconds_total',
      'Time of the event loop by state',
      [
        [{ nodejs_eventloop_state: 'active' }, active / 1e3],
        [{ nodejs_eventloop_state: 'idle' }, idle / 1e3],
      ],
    ],
    [
      'process_cpu_time_seconds_total',
      'CPU time by mode',
      Object.entries(process.cpuUsage()).map(([mode, us]) => [{ cpu_mode: mode }, us / 1e6]),
    ],
    ['process_memory_usage_bytes', 'Resident memory', [[{}, process.memoryUsage.rss()]]],
    ['process_uptime_seconds', 'Age of the process', [[{}, process.uptime()]]],
    [
      'v8js_memory_heap_used_bytes',
      'Heap in use by space',
      getHeapSpaceStatistics().map((heap) => [{ v8js_heap_space_name: heap.space_name }, heap.space_used_size]),
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
