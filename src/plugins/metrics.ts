import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf } from '../reasons.ts'
import { service } from '../service.ts'

type Prometheus = typeof import('@prometheus-io/client')
type Values = [labels: Record<string, string>, value: number][]

/** What is read when it is scraped: a counter if the name ends in `_total`, else a gauge. */
interface Source {
  name: string
  help: string
  labelNames: string[]
  read: () => Values | Promise<Values>
}

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
    const prometheus = await import('@prometheus-io/client')
    const { Counter, Gauge, Registry } = prometheus
    const registry = new Registry()
    const registers = [registry]

    const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
    delay.enable()
    fastify.addHook('onClose', async () => void delay.disable())

    for (const { name, help, labelNames, read } of [...ofService(fastify), ...ofProcess(delay)]) {
      const collect = async () => {
        const values = await read()
        metric.reset()
        for (const [labels, value] of values) metric.inc(labels, value)
      }
      const Metric = name.endsWith('_total') ? Counter : Gauge
      const metric = new Metric<string>({ name, help, labelNames, registers, collect })
    }
    countRequests(fastify, prometheus, registers)
    countTimeouts(fastify, prometheus, registers)
    countLookups(fastify, prometheus, registers)

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
  return [
    {
      name: 'target_info',
      help: 'Name and version of the service',
      labelNames: ['service_name', 'service_version'],
      read: () => [[{ service_name: service.name, service_version: service.version }, 1]],
    },
    {
      name: 'db_client_connection_count',
      help: 'Connections by state',
      labelNames: [...Object.keys(POOL), 'db_client_connection_state'],
      read: () => [
        [{ ...POOL, db_client_connection_state: 'idle' }, pool.idleCount],
        [{ ...POOL, db_client_connection_state: 'used' }, pool.totalCount - pool.idleCount],
      ],
    },
    {
      name: 'db_client_connection_max',
      help: 'Connections at the most',
      labelNames: Object.keys(POOL),
      read: () => [[POOL, pool.options.max]],
    },
    {
      name: 'db_client_connection_pending_requests',
      help: 'Callers that wait for a connection',
      labelNames: Object.keys(POOL),
      read: () => [[POOL, pool.waitingCount]],
    },
    {
      name: 'health_check_status',
      help: '1: the check passes, 0: it fails',
      labelNames: ['check'],
      read: async () =>
        Array.from(await health.results(), ([check, { status }]) => [{ check }, status === 'ok' ? 1 : 0]),
    },
    {
      name: 'health_check_latency_seconds',
      help: 'Latency of a check that passes',
      labelNames: ['check'],
      read: async () =>
        Array.from(await health.results()).flatMap(([check, { latencyMs }]) =>
          latencyMs === null ? [] : [[{ check }, latencyMs / 1_000]],
        ),
    },
    {
      name: 'migrations',
      help: 'Migrations by state, as boot found and left them',
      labelNames: ['state'],
      read: () => Object.entries(migrations.state ?? {}).map(([state, names]) => [{ state }, names.length]),
    },
  ]
}

function ofProcess(delay: ReturnType<typeof monitorEventLoopDelay>): Source[] {
  // Node measures how long a timer takes that is due after the resolution.
  const late = (ns: number) => Math.max(0, ns / 1e9 - DELAY_RESOLUTION_MS / 1e3)
  return [
    {
      name: 'nodejs_eventloop_delay_max_seconds',
      help: 'How late a timer was at the most, since the last scrape',
      labelNames: [],
      read: () => [[{}, late(delay.max)]],
    },
    {
      name: 'nodejs_eventloop_delay_p99_seconds',
      help: 'How late a timer was in 99 % of cases at the most, since the last scrape',
      labelNames: [],
      read: () => [[{}, late(delay.percentile(99))]],
    },
    {
      name: 'nodejs_eventloop_time_seconds_total',
      help: 'Time of the event loop by state',
      labelNames: ['nodejs_eventloop_state'],
      read: () => {
        const { active, idle } = performance.eventLoopUtilization()
        return [
          [{ nodejs_eventloop_state: 'active' }, active / 1e3],
          [{ nodejs_eventloop_state: 'idle' }, idle / 1e3],
        ]
      },
    },
    {
      name: 'process_cpu_time_seconds_total',
      help: 'CPU time by mode',
      labelNames: ['cpu_mode'],
      read: () => Object.entries(process.cpuUsage()).map(([mode, us]) => [{ cpu_mode: mode }, us / 1e6]),
    },
    {
      name: 'process_memory_usage_bytes',
      help: 'Resident memory',
      labelNames: [],
      read: () => [[{}, process.memoryUsage.rss()]],
    },
    {
      name: 'process_uptime_seconds',
      help: 'Age of the process',
      labelNames: [],
      read: () => [[{}, process.uptime()]],
    },
    {
      name: 'v8js_memory_heap_used_bytes',
      help: 'Heap in use by space',
      labelNames: ['v8js_heap_space_name'],
      read: () =>
        getHeapSpaceStatistics().map((heap) => [{ v8js_heap_space_name: heap.space_name }, heap.space_used_size]),
    },
  ]
}

type Registers = InstanceType<Prometheus['Registry']>[]

/** By route pattern, without one where there is no route; a method that Fastify does not serve is `_OTHER`. */
function countRequests(fastify: FastifyInstance, { Histogram }: Prometheus, registers: Registers): void {
  const duration = new Histogram({
    name: 'http_server_request_duration_seconds',
    help: 'Duration of requests, probes and scrapes aside',
    labelNames: ['http_request_method', 'http_route', 'http_response_status_code'],
    buckets: BUCKETS,
    registers,
  })
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
function countTimeouts({ pg }: FastifyInstance, { Counter }: Prometheus, registers: Registers): void {
  const timeouts = new Counter({
    name: 'db_client_connection_timeouts_total',
    help: 'Callers that got no connection in time',
    labelNames: Object.keys(POOL),
    registers,
  })
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
function countLookups({ cache }: FastifyInstance, { Counter }: Prometheus, registers: Registers): void {
  const lookups = new Counter({
    name: 'cache_lookups_total',
    help: 'Lookups of the cache by function and result, hit or miss',
    labelNames: ['cache', 'result'],
    registers,
  })
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
