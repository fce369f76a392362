import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify'
import type { Logger } from 'pino'
import { answerTo } from './error-answers.ts'
import { note } from './errors.ts'
import { HttpError } from './http-error.ts'
import { answers } from './limits/answers.ts'
import { Connections } from './limits/connections.ts'
import { type Trust, trusted } from './limits/proxies.ts'
import { Unread } from './limits/unread.ts'
import { logger, output } from './logger.ts'
import { countRefusal, type Refusable, refuseExpectation, refuseUnreadable } from './refusals.ts'
import { bodyOf, prepare, respond, respondAtLast } from './respond.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** For probes and scrapers: logged at `debug` only, and not among the requests that the metrics count. */
    quiet?: boolean
  }

  interface FastifyInstance {
    /** What the plugin of that name bounds. */
    limits: { connections: Connections; unread: Unread }
    /** Called for each request whose client went away before the end of its answer, quiet ones aside. */
    abortListeners: ((request: FastifyRequest, reply: FastifyReply) => void)[]
    /** Where there is tracing: begins the span of a request, quiet ones aside. Undefined if it has none. */
    startTrace?: (raw: IncomingMessage) => Required<Trace> | undefined
  }

  interface FastifyRequest {
    /** 32 hexadecimal digits: that of the client's `traceparent` if it is well-formed, else fresh. As the log has it. */
    readonly traceId: string
    /** The same, with the span of the request where there is one. */
    readonly trace: Trace
  }
}

export interface Trace {
  traceId: string
  /** 16 hexadecimal digits. */
  spanId?: string
  /** Whether the trace is one of those that are kept. */
  isSampled?: boolean
}

type Traced = IncomingMessage & { trace?: Trace }

/** Half-sent requests are looked for this often. */
const CONNECTIONS_CHECK_MS = 2_000
const REQUEST_ID = /^[\w.:+/=-]{1,128}$/
/** W3C Trace Context: version, trace, parent, flags. Neither version ff nor an id of zeros is valid. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0+-)([0-9a-f]{32})-(?!0+-)[0-9a-f]{16}-[0-9a-f]{2}$/

/** One line a request, when it is answered, where Fastify writes two. */
class RequestLog extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(err: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    if (err) request.log.error({ err }, 'failed after the answer')
    write(request, reply, { status: reply.statusCode })
  }

  /**
   * Fastify's own error handler, which answers with the message and the headers of any error, has its turn where an
   * answer of ours cannot be sent, as when an onSend hook throws. It logs before it answers, so this answers first.
   */
  override defaultErrorLog(err: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const told = answerTo(err)
    note(request, reply, err, told)
    respondAtLast(reply, told)
    reply.send = () => reply
  }

  /** Its message would be the URL. So would that of Fastify's answer, of which only the path stays. */
  override routeNotFound({ raw: { method, url } }: FastifyRequest, reply: FastifyReply): void {
    const answer = { status: 404, message: `Route ${method}:${(url as string).split(/[?#]/, 1)} not found` }
    prepare(reply, answer).serializer(() => JSON.stringify(bodyOf(answer)))
  }
}

/** A quiet route has no logger of its own, see below. To ask so costs less than to ask for the route's options. */
function isQuiet({ log, server }: FastifyRequest): boolean {
  return log === server.log
}

/** The status that was sent before the client went away, if any was. A handler may answer after a refusal, in vain. */
export function statusOfAborted({ raw, statusCode }: FastifyReply): number | undefined {
  return (raw as Refusable).refusedWith ?? (raw.headersSent ? statusCode : undefined)
}

function markAnswered(this: Refusable): void {
  this.isAnswered = true
}

function idOf({ headers }: { headers: IncomingHttpHeaders }): string {
  const id = headers['x-request-id'] as string | undefined
  return id !== undefined && REQUEST_ID.test(id) ? id : randomUUID()
}

/** The same one at each call. */
function traceOf(raw: Traced): Trace {
  raw.trace ??= {
    traceId: TRACEPARENT.exec(raw.headers['traceparent'] as string)?.[1] ?? randomUUID().replaceAll('-', ''),
  }
  return raw.trace
}

function write(request: FastifyRequest, reply: FastifyReply, outcome: object): void {
  const quiet = isQuiet(request)
  const { id, log, method } = request
  if (quiet && !(log as Logger).isLevelEnabled('debug')) return
  const durationMs = Math.round(reply.elapsedTime * 10) / 10
  const line = { method, route: request.routeOptions.url, ...outcome, durationMs }
  if (quiet) log.debug({ requestId: id, ...line }, 'request')
  else log.info(line, 'request')
}

/**
 * The instance that the service is registered on, with all that a request needs from its first byte on: the limits,
 * the one log line, and the ids. Fastify takes a part of it as options alone and a part as hooks alone, so both are
 * given here: `src/app.ts` refuses an instance that was made otherwise.
 *
 * `request.id` is in each line of the request's log as `requestId`, beside `traceId` and the `spanId` of tracing, and in
 * the answer as `x-request-id`. `request.id` and `request.traceId` are the client's if they are well-formed, else fresh.
 * `stream` takes the log in place of stdout.
 */
export function createFastify({ stream = output }: { stream?: { write(line: string): void } } = {}): FastifyInstance {
  const limits = { connections: new Connections(), unread: new Unread() }
  let trust: Trust | undefined
  const app: FastifyInstance = fastify({
    logger: { ...logger, stream },
    logController: new RequestLog({ requestIdLogLabel: 'requestId' }),
    http: {
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      ServerResponse: answers(limits.connections, limits.unread),
      requireHostHeader: false, // Node's refusal has no event
    },
    // By the settings, which are read later.
    trustProxy(address, hop) {
      trust ??= trusted(app.config.TRUST_PROXY)
      return trust(address, hop)
    },
    genReqId: idOf,

    childLoggerFactory(logger, bindings, options, raw: Traced) {
      const started = app.startTrace?.(raw)
      if (started) raw.trace = started
      const { traceId, spanId } = traceOf(raw)
      return logger.child(spanId ? { ...bindings, traceId, spanId } : { ...bindings, traceId }, options)
    },

    /** For a URL that the router refuses. */
    frameworkErrors(err, request, reply) {
      // Its message is the URL.
      respond(reply.header('x-request-id', request.id), { status: err.statusCode as number, code: err.code })
      write(request, reply, { status: reply.statusCode })
      countRefusal(app, reply.statusCode)
    },

    clientErrorHandler: (err, socket) => refuseUnreadable(app, err, socket),
  })
  app.decorate('refusals', new Map())
  app.decorate('abortListeners', [])
  app.decorateRequest('trace', {
    getter() {
      return traceOf(this.raw)
    },
  })
  app.decorateRequest('traceId', {
    getter() {
      return traceOf(this.raw).traceId
    },
  })
  app.server.on('checkExpectation', (request: IncomingMessage, response) =>
    refuseExpectation(app, idOf(request), request.method as string, response),
  )

  // Without a listener Node closes the connection. It leaves the socket without one for errors.
  app.server.on('connect', (_, socket) => refuseUnreadable(app, { code: 'CONNECT' }, socket as Socket))

  // A probe should make no work. A logger of its own costs as much as all else that is done here, so it has none.
  app.addHook('onRoute', (route) => {
    if (route.config?.quiet) route.childLoggerFactory = (logger) => logger
  })

  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    if (!isQuiet(request)) {
      const raw: Refusable = reply.raw
      raw.requestId = request.id
      raw.on('finish', markAnswered)
      // Fastify calls no onResponse for a client that went away before its answer (fastify issue 6208).
      raw.once('close', () => {
        if (raw.isAnswered) return
        write(request, reply, { status: statusOfAborted(reply), aborted: true })
        for (const listener of app.abortListeners) listener(request, reply)
      })
    }
    const noHost = request.headers.host === undefined && request.raw.httpVersion === '1.1'
    if (noHost) done(new HttpError(400, 'the header Host is missing'))
    else done()
  })
  return app.decorate('createFastify', true).decorate('limits', limits)
}
