import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { NewHistogram, Reading } from '../core/feature.ts'
import { statusOfAborted, type Trace } from '../core/requests.ts'

/** OpenTelemetry's buckets for the duration of a request, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

type Kind = Reading[2][number]

declare module 'fastify' {
  interface FastifyRequest {
    /** Where it counts as one that has no answer yet. */
    activeKind: Kind | undefined
  }
}

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
  /** Each method and scheme that there was, and how many of its requests have no answer. */
  const kinds = new Map<string, Kind>()
  const kindOf = ({ method, protocol }: FastifyRequest) => {
    const known = methods.has(method) ? method : '_OTHER'
    const scheme = protocol === 'https' ? 'https' : 'http' // a client whose X-Forwarded-Proto counts can send any
    const key = known + scheme
    const kind = kinds.get(key)
    if (kind) return kind
    const first: Kind = [{ http_request_method: known, url_scheme: scheme }, 0]
    kinds.set(key, first)
    return first
  }
  fastify.decorateRequest('activeKind', undefined)
  const observe = (request: FastifyRequest, reply: FastifyReply, outcome: Record<string, string | number>) => {
    // A hook before may have answered it.
    const kind = request.activeKind ?? kindOf(request)
    if (request.activeKind) kind[1]--
    request.activeKind = undefined
    const { url } = request.routeOptions
    const labels = { ...kind[0], ...outcome, ...(url !== undefined && { http_route: url }) }
    duration.observe(labels, reply.elapsedTime / 1_000, exemplarOf(request.trace))
  }
  fastify.addHook('onRequest', (request, _, done) => {
    if (!request.routeOptions.config.quiet) {
      const kind = kindOf(request)
      kind[1]++
      request.activeKind = kind
    }
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
  return () => [
    'http_server_active_requests',
    'Requests without an answer, probes and scrapes aside',
    Array.from(kinds.values()),
  ]
}

/** A 4xx is an error of the client, and none of the service. */
function outcomeOf(status: number): Record<string, number> {
  return { http_response_status_code: status, ...(status >= 500 && { error_type: status }) }
}

/** The ids of a trace that is kept, for those who look for the requests of a bucket. */
function exemplarOf({ traceId, spanId, isSampled }: Trace): Record<string, string> | undefined {
  return isSampled ? { trace_id: traceId, span_id: spanId as string } : undefined
}
