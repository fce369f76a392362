import { randomUUID } from 'node:crypto'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify'
import type { Logger } from 'pino'
import { answers } from './limits/answers.ts'
import { Connections } from './limits/connections.ts'
import { type Trust, trusted } from './limits/proxies.ts'
import { Unread } from './limits/unread.ts'
import { logger } from './logger.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What the plugin of that name bounds. */
    limits: { connections: Connections; unread: Unread }
  }
  interface FastifyContextConfig {
    /** For probes and scrapers: logged at `debug` only, and not among the requests that the metrics count. */
    quiet?: boolean
  }
}

/** Half-sent requests are looked for this often. */
const CONNECTIONS_CHECK_MS = 2_000
const REQUEST_ID = /^[\w.:+/=-]{1,128}$/
/** W3C Trace Context: version, trace, parent, flags. Neither version ff nor an id of zeros is valid. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0+-)([0-9a-f]{32})-(?!0+-)[0-9a-f]{16}-[0-9a-f]{2}$/

/** One line a request, when it is answered, where Fastify writes two. */
class RequestLog extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(_: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    write(request, reply, { status: reply.statusCode })
  }

  /** The request's line tells of a client's mistake. */
  override defaultErrorLog(err: Error, request: FastifyRequest, reply: FastifyReply): void {
    if (reply.statusCode >= 500) request.log.error({ err }, 'request failed')
  }

  /** Its message would be the URL. */
  override routeNotFound(): void {}
}

/** A quiet route has no logger of its own, see below. To ask so costs less than to ask for the route's options. */
function isQuiet({ log, server }: FastifyRequest): boolean {
  return log === server.log
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
 * `request.id` is in each line of the request's log as `requestId`, beside `traceId`, and in the answer as
 * `x-request-id`. Both ids are the client's if they are well-formed, else fresh. `stream` takes the log in place of
 * stdout.
 */
export function createFastify({ stream }: { stream?: { write(line: string): void } } = {}): FastifyInstance {
  const limits = { connections: new Connections(), unread: new Unread() }
  let trust: Trust | undefined
  const app: FastifyInstance = fastify({
    logger: { ...logger, ...(stream && { stream }) },
    logController: new RequestLog({ requestIdLogLabel: 'requestId' }),
    http: {
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      ServerResponse: answers(limits.connections, limits.unread),
    },
    // By the settings, which are read later.
    trustProxy(address, hop) {
      trust ??= trusted(app.config.TRUST_PROXY)
      return trust(address, hop)
    },

    genReqId({ headers }) {
      const id = headers['x-request-id'] as string | undefined
      return id !== undefined && REQUEST_ID.test(id) ? id : randomUUID()
    },

    childLoggerFactory(logger, bindings, options, { headers }) {
      const traceId = TRACEPARENT.exec(headers['traceparent'] as string)?.[1] ?? randomUUID().replaceAll('-', '')
      return logger.child({ ...bindings, traceId }, options)
    },

    /** For a URL that the router refuses. */
    frameworkErrors(err, request, reply) {
      reply.header('x-request-id', request.id).send(err as never)
      write(request, reply, { status: reply.statusCode })
    },
  })

  // A probe should make no work. A logger of its own costs as much as all else that is done here, so it has none.
  app.addHook('onRoute', (route) => {
    if (route.config?.quiet) route.childLoggerFactory = (logger) => logger
  })

  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    // Fastify calls no onResponse for a client that went away before its answer (fastify issue 6208).
    if (!isQuiet(request)) {
      reply.raw.once('close', () => {
        if (!reply.raw.writableEnded) write(request, reply, { aborted: true })
      })
    }
    done()
  })
  return app.decorate('createFastify', true).decorate('limits', limits)
}
