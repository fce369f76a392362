import type { IncomingMessage } from 'node:http'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import {
  type Attributes,
  type Context,
  context,
  propagation,
  type Span,
  SpanKind,
  type SpanOptions,
  type SpanStatus,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { statusOfAborted } from '../core/requests.ts'
import { service } from '../core/service.ts'
import { traceOfSpan } from './agent.ts'

/** The span of a request, and what was said of it so far. */
interface Traced {
  span: Span
  isDescribed?: boolean
  end?(): void
  setStatus?(status: SpanStatus): void
  status?: SpanStatus
  error?: unknown
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

/**
 * A span for each request but those of quiet routes. It begins ahead of the request's first line in the log, which has its
 * ids, and ends with the last byte of the answer. @fastify/otel makes it the active one, and `request.opentelemetry()`;
 * its own span would be named `request`, have the query in `url.path`, count every error as one of the service, end
 * before a stream is sent, and not end where the client goes away.
 */
export async function traceRequests(fastify: FastifyInstance): Promise<void> {
  const tracer = trace.getTracer(service.name, service.version)
  const requests = new WeakMap<IncomingMessage, Traced>()
  /** The request for which @fastify/otel is about to start a span. */
  let current: FastifyRequest

  const start = (raw: IncomingMessage, kind: SpanKind, within: Context) => {
    const span = tracer.startSpan(methodOf(raw), { kind, attributes: ofRaw(raw) }, within)
    const traced = span.isRecording() ? held(span) : { span }
    requests.set(raw, traced)
    return traced
  }

  fastify.startTrace = (raw) => {
    const active = trace.getActiveSpan() // an agent's, of Node's server
    if (active) return traceOfSpan(active)
    return traceOfSpan(start(raw, SpanKind.SERVER, propagation.extract(context.active(), raw.headers)).span)
  }

  const instrumentation = new FastifyOtelInstrumentation({
    instrumentHooks: false,
    instrumentHandler: false,
    recordExceptions: false,
  })
  const startSpan = (_: string, { kind }: SpanOptions, within: Context) => {
    const traced = requests.get(current.raw) ?? start(current.raw, kind as SpanKind, within)
    describe(traced, current)
    return traced.span
  }
  instrumentation.setTracerProvider({ getTracer: () => ({ startSpan, startActiveSpan: tracer.startActiveSpan }) })

  fastify.addHook('onRoute', (route) => {
    if (route.config?.quiet) route.config.otel = false
  })
  fastify.addHook('onRequest', (request, _, done) => {
    current = request
    done()
  })
  await fastify.register(instrumentation.plugin())
  // Who reads a body goes on in the context of the connection.
  fastify.addHook('preValidation', (request, _, done) => {
    const { context: own } = request.opentelemetry()
    if (own) context.with(own, done)
    else done()
  })
  fastify.addHook('onError', ({ raw }, _, err, done) => {
    const traced = requests.get(raw)
    if (traced) traced.error = err
    done()
  })
  const finish = (request: FastifyRequest, status: number | undefined, errorType?: string) => {
    const traced = requests.get(request.raw)
    if (!traced?.span.isRecording()) return
    describe(traced, request) // one that an earlier hook has answered
    end(traced, status, errorType)
  }
  fastify.addHook('onResponse', (request, reply, done) => {
    finish(request, reply.statusCode)
    done()
  })
  fastify.abortListeners.push((request: FastifyRequest, reply: FastifyReply) =>
    finish(request, statusOfAborted(reply), 'aborted'),
  )
}

function held(span: Span): Traced {
  const traced: Traced = { span, end: span.end.bind(span), setStatus: span.setStatus.bind(span) }
  span.end = () => {}
  span.setStatus = (status) => {
    traced.status = status
    return span
  }
  return traced
}

/** An answer below 500 is no error of the service, unless a handler that answers says so. */
function end(traced: Traced, statusCode: number | undefined, errorType?: string): void {
  const { span, status, error } = traced
  const isFailed = statusCode !== undefined && statusCode >= 500
  const type = errorType ?? (isFailed ? String(statusCode) : undefined)
  if (statusCode !== undefined) span.setAttribute('http.response.status_code', statusCode)
  if (type !== undefined) {
    span.setAttribute('error.type', type)
    traced.setStatus?.({ code: SpanStatusCode.ERROR })
    if (error) span.recordException(error as Error)
  } else if (status && !error) traced.setStatus?.(status)
  traced.end?.()
  span.setAttributes = () => span // @fastify/otel's last, where the client is gone before the answer
}

function describe(traced: Traced, { raw, routeOptions, protocol, hostname, port, ip }: FastifyRequest): void {
  if (traced.isDescribed || !traced.span.isRecording()) return
  traced.isDescribed = true
  if (routeOptions.url) traced.span.updateName(`${methodOf(raw)} ${routeOptions.url}`)
  traced.span.setAttributes({
    'http.route': routeOptions.url,
    'url.scheme': protocol,
    'server.address': hostname,
    'server.port': port ?? undefined,
    'client.address': ip,
  })
}

function methodOf({ method }: IncomingMessage): string {
  return METHODS.has(method as string) ? (method as string) : 'HTTP'
}

function ofRaw(raw: IncomingMessage): Attributes {
  const method = methodOf(raw)
  return {
    'http.request.method': method === 'HTTP' ? '_OTHER' : method,
    ...(method === 'HTTP' && { 'http.request.method_original': raw.method as string }),
    'url.path': (raw.url as string).split(/[?#]/, 1)[0] as string,
    'network.protocol.version': raw.httpVersion,
    'user_agent.original': raw.headers['user-agent'],
  }
}
