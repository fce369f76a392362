import { randomUUID } from 'node:crypto'
import { type FastifyReply, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import fp from 'fastify-plugin'
import type { Logger } from 'pino'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** For probes and scrapers: logged at `debug` only, and not among the requests that the metrics count. */
    quiet?: boolean
  }
}

const REQUEST_ID = /^[\w.:+/=-]{1,128}$/
/** W3C Trace Context: version, trace, parent, flags. Neither version ff nor an id of zeros is valid. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0+-)([0-9a-f]{32})-(?!0+-)[0-9a-f]{16}-[0-9a-f]{2}$/

/** Where Fastify writes two lines a request, one, when it is answered. */
class RequestLog extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(_: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    write(request, reply, { status: reply.statusCode })
  }

  /** What is the client's mistake is told by the request's line. */
  override defaultErrorLog(err: Error, request: FastifyRequest, reply: FastifyReply): void {
    if (reply.statusCode >= 500) request.log.error({ err }, 'request failed')
  }

  /** Its message would be the URL. */
  override routeNotFound(): void {}
}

/** A quiet route has no logger of its own, see below: asking so costs less than asking for the route's options. */
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
 * For `fastify()`: what no plugin can set for requests without a route. `request.id`, which each line of the request's log
 * has as `requestId` beside `traceId`: those that the client sent if they are well-formed, else fresh ones.
 */
export const requestOptions = {
  logController: new RequestLog({ requestIdLogLabel: 'requestId' }),

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
} satisfies FastifyServerOptions

/** Gives every answer its request's id, as `x-request-id`, and a line to a request whose client went away before it. */
export default fp(
  async function requests(fastify) {
    // A probe should make no work: it does without a logger of its own, which costs as much as all else that is done here.
    fastify.addHook('onRoute', (route) => {
      if (route.config?.quiet) route.childLoggerFactory = (logger) => logger
    })

    fastify.addHook('onRequest', (request, reply, done) => {
      reply.header('x-request-id', request.id)
      if (!isQuiet(request)) {
        reply.raw.once('close', () => {
          if (!reply.raw.writableEnded) write(request, reply, { aborted: true })
        })
      }
      done()
    })
  },
  { name: 'requests', fastify: '5.x' },
)
