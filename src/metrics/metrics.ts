import type { Histogram } from '@prometheus-io/client'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { FeatureOptions, NewHistogram, Reading } from '../core/feature.ts'
import { isReady } from '../core/health/routes.ts'
import { service } from '../core/service.ts'
import { prefersOpenMetrics } from './accept.ts'
import { createOwnPort } from './port.ts'
import { ofProcess, watchDelays } from './process.ts'
import { observeRequests } from './requests.ts'

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

    // Of no registry: the library reads the type of one after an await, so each scrape has a registry of its own.
    const histograms: Histogram<string>[] = []
    const histogram: NewHistogram = (options) => {
      const enableExemplars = fastify.startTrace !== undefined
      const made = new prometheus.Histogram({ ...options, registers: [], enableExemplars })
      histograms.push(made)
      if (!enableExemplars) return made
      return { observe: (labels, value, exemplarLabels = {}) => made.observe({ labels, value, exemplarLabels }) }
    }
    const activeRequests = observeRequests(fastify, histogram)
    // By then every plugin has made what it tells of.
    fastify.addHook('onReady', async () => {
      for (const { observe } of contributions) observe?.(fastify, histogram)
    })
    const { OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE } = prometheus.Registry
    const typeFor = ({ headers }: FastifyRequest) =>
      prefersOpenMetrics(headers.accept) ? OPENMETRICS_CONTENT_TYPE : PROMETHEUS_CONTENT_TYPE

    const served = METRICS_PORT === undefined ? fastify : await createOwnPort(fastify, METRICS_PORT)
    const config = { duringStart: true, quiet: true }
    // Fastify's own HEAD would read all that a GET does.
    served.head('/metrics', { config }, async (request, reply) => {
      reply.type(typeFor(request)).header('cache-control', 'no-store')
    })
    served.get('/metrics', { config, exposeHeadRoute: false }, async (request, reply) => {
      const read = new prometheus.Registry(typeFor(request))
      const readings = [
        ...(await ofService(fastify)),
        ...contributions.flatMap(({ metrics }) => metrics(fastify)),
        activeRequests(),
        ...ofProcess(delays.recent),
      ]
      for (const [name, help, values] of readings) {
        const [first] = values
        if (!first) continue // without labels it would be 0
        const Metric = name.endsWith('_total') ? prometheus.Counter : prometheus.Gauge
        const metric = new Metric<string>({ name, help, labelNames: Object.keys(first[0]), registers: [read] })
        for (const [labels, value] of values) metric.inc(labels, value)
      }
      for (const each of histograms) read.registerMetric(each)
      reply.type(read.contentType).header('cache-control', 'no-store')
      return read.metrics()
    })
  },
  { name: 'metrics', fastify: '5.x', dependencies: ['env', 'health'] },
)

async function ofService(fastify: FastifyInstance): Promise<Reading[]> {
  const results = await fastify.health.results()
  const checks = Array.from(results)
  return [
    [
      'target_info',
      'Name and version of the service',
      [[{ service_name: service.name, service_version: service.version }, 1]],
    ],
    ['health_ready', '1: /health/ready says 200, 0: it says 503', [[{}, isReady(fastify, results) ? 1 : 0]]],
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
