import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { NewHistogram, Reading } from '../core/feature.ts'
import { statusOfAborted } from '../core/requests.ts'

/** OpenTelemetry's buckets for the duration of a request, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/**
 * Observes requests, probes and scrapes aside: by route pattern, without one where there is no route; a method that
 * Fastify does not serve is `_OTHER`. Returns what reads those that have no answer yet.
 */
export function observeRequests(fastify: FastifyInstance, histogram: NewHistogram): () => Reading {
  const duration = histogram({
    name: 'http_server_request_duration_seconds',
    help: 'Duration of requests, probes and scrapes aside',
    labelNames: ['http_request_method', 'url_scheme', 'http_route', 'http_response_status_code', 'error_type'],
    buckets: BUCKETS,
  })
  const methods = new Set(fastify.supportedMethods)
  const labelsOf = ({ method, protocol }: FastifyRequest) => ({
    http_request_method: methods.has(method) ? method : '_OTHER',
    // A client whose X-Forwarded-Proto counts can send any.
    url_scheme: protocol === 'https' ? 'https' : 'http',
  })
  const active = new Set<FastifyRequest>()
  const observe = (request: FastifyRequest, reply: FastifyReply, outcome: Record<string, string | number>) => {
    active.delete(request)
    const { url } = request.routeOptions
    const labels = { ...labelsOf(request), ...outcome, ...(url !== undefined && { http_route: url }) }
    duration.observe(labels, reply.elapsedTime / 1_000)
  }
  fastify.addHook('onRequest', (request, _, done) => {
    if (!request.routeOptions.config.quiet) active.add(request)
    done()
  })
  fastify.addHook('onResponse', (request, reply, done) => {
    if (!request.routeOptions.config.quiet) observe(request, reply, outcomeOf(reply.statusCode))
    done()
  })
  fastify.abortListeners.push((request, reply) => {
    const status = statusOfAborted(reply)
    const sent = status !== undefined && { http_response_status_code: status }
    observe(request, reply, { ...sent, error_type: 'aborted' })
  })

  /** What was seen once goes on as 0. */
  const seen = new Map<string, Reading[2][number]>()
  return () => {
    for (const value of seen.values()) value[1] = 0
    for (const request of active) {
      const labels = labelsOf(request)
      const key = Object.values(labels).join(' ')
      const value = seen.get(key) ?? [labels, 0]
      value[1]++
      seen.set(key, value)
    }
    return ['http_server_active_requests', 'Requests without an answer, probes and scrapes aside', [...seen.values()]]
  }
}

/** A 4xx is an error of the client, and none of the service. */
function outcomeOf(status: number): Record<string, number> {
  return { http_response_status_code: status, ...(status >= 500 && { error_type: status }) }
}
