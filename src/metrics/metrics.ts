import { type ELDHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import type { Histogram } from '@prometheus-io/client'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { FeatureOptions, Reading } from '../core/feature.ts'
import { statusOfAborted } from '../core/requests.ts'
import { service } from '../core/service.ts'
import { createOwnPort } from './port.ts'

/** OpenTelemetry's buckets for the duration of a request, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const DELAY_RESOLUTION_MS = 10
/** The delays told are those of the last one to two of these: every scraper sees each, that asks once a minute. */
const DELAY_WINDOW_MS = 60_000

/**
 * `/metrics` for Prometheus, if `METRICS` says so. Names are OpenTelemetry's where it has one, spelt as its
 * specification of Prometheus compatibility translates them. A scrape asks the backends no more than a probe does.
 */
export default fp<FeatureOptions>(
  async function metrics(fastify, { features }) {
    const { METRICS, METRICS_PORT } = fastify.config
    if (!METRICS) return
    // A CommonJS package: bundled it has no names, only this.
    const { default: prometheus } = await import('@prometheus-io/client')
    const contributions = await Promise.all(features.flatMap((feature) => feature.metrics?.() ?? []))
    const delays = watchDelays()
    fastify.addHook('onClose', async () => delays.stop())

    const requests = new prometheus.Registry()
    observeRequests(
      fastify,
      new prometheus.Histogram({
        name: 'http_server_request_duration_seconds',
        help: 'Duration of requests, probes and scrapes aside',
        labelNames: ['http_request_method', 'http_route', 'http_response_status_code', 'error_type'],
        buckets: BUCKETS,
        registers: [requests],
      }),
    )

    const served = METRICS_PORT === undefined ? fastify : await createOwnPort(fastify, METRICS_PORT)
    const config = { duringStart: true, quiet: true }
    // Fastify's own HEAD would read all that a GET does.
    served.head('/metrics', { config }, async (_, reply) => {
      reply.type(requests.contentType).header('cache-control', 'no-store')
    })
    served.get('/metrics', { config, exposeHeadRoute: false }, async (_, reply) => {
      const read = new prometheus.Registry()
      const readings = [
        ...(await ofService(fastify)),
        ...contributions.flatMap(({ metrics }) => metrics(fastify)),
        ...ofProcess(delays.recent),
      ]
      for (const [name, help, values] of readings) {
        const [first] = values
        if (!first) continue // without labels it would be 0
        const Metric = name.endsWith('_total') ? prometheus.Counter : prometheus.Gauge
        const metric = new Metric<string>({ name, help, labelNames: Object.keys(first[0]), registers: [read] })
        for (const [labels, value] of values) metric.inc(labels, value)
      }
      reply.type(read.contentType).header('cache-control', 'no-store')
      return `${await read.metrics()}\n${await requests.metrics()}`
    })
  },
  { name: 'metrics', fastify: '5.x', dependencies: ['env', 'health'] },
)

async function ofService({ health }: FastifyInstance): Promise<Reading[]> {
  const checks = Array.from(await health.results())
  return [
    [
      'target_info',
      'Name and version of the service',
      [[{ service_name: service.name, service_version: service.version }, 1]],
    ],
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
  ]
}

/** Two histograms, of which one starts anew in turn, and the other, which has seen more, is read. */
function watchDelays() {
  const pair = [0, 1].map(() => monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })) as [
    ELDHistogram,
    ELDHistogram,
  ]
  for (const delays of pair) delays.enable()
  const turn = setInterval(() => pair.reverse()[1]?.reset(), DELAY_WINDOW_MS).unref()
  return {
    get recent() {
      return pair[0]
    },
    stop() {
      clearInterval(turn)
      for (const delays of pair) delays.disable()
    },
  }
}

function ofProcess(delay: ELDHistogram): Reading[] {
  // Node measures how long a timer takes that is due after the resolution.
  const late = (ns: number) => Math.max(0, ns / 1e9 - DELAY_RESOLUTION_MS / 1e3)
  const { active, idle } = performance.eventLoopUtilization()
  return [
    ['nodejs_eventloop_delay_max_seconds', 'The latest a timer was in the last minute or two', [[{}, late(delay.max)]]],
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
  const observe = (request: FastifyRequest, reply: FastifyReply, outcome: Record<string, string | number>) => {
    const { url } = request.routeOptions
    const method = methods.has(request.method) ? request.method : '_OTHER'
    const labels = { http_request_method: method, ...outcome, ...(url !== undefined && { http_route: url }) }
    duration.observe(labels, reply.elapsedTime / 1_000)
  }
  fastify.addHook('onResponse', (request, reply, done) => {
    if (!request.routeOptions.config.quiet) observe(request, reply, { http_response_status_code: reply.statusCode })
    done()
  })
  fastify.abortListeners.push((request, reply) => {
    const status = statusOfAborted(reply)
    const sent = status !== undefined && { http_response_status_code: status }
    observe(request, reply, { ...sent, error_type: 'aborted' })
  })
}
