import { once } from 'node:events'
import { Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import fastify, { type FastifyInstance } from 'fastify'
import service from './app.ts'
import { logger } from './logger.ts'

/** A half-sent request is cut after this long, and looked for every two seconds: slow clients hold no connection. */
const REQUEST_TIMEOUT_MS = 10_000
const CONNECTIONS_CHECK_MS = 2_000
/** Time for a load balancer to see that the service is not ready, in production. */
const PRODUCTION_DELAY_MS = 5_000
/** An idle connection has this long to bring one more request, once the port is closed. */
const LAST_REQUEST_MS = 1_000

const app = fastify({
  logger,
  requestTimeout: REQUEST_TIMEOUT_MS,
  http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: CONNECTIONS_CHECK_MS },
})

// Before anything else: as the first process of a container, a signal without a handler is lost.
closeWithGrace({ delay: false, logger: app.log }, async ({ signal, err }) => {
  const { config, lifecycle, log } = app
  if (err) log.fatal({ err }, 'uncaught error')
  else log.info({ signal }, 'leaving')
  const served = lifecycle?.phase === 'serving'
  lifecycle?.drain()
  if (!served) return
  await sleep(config.SHUTDOWN_DELAY_MS ?? (config.NODE_ENV === 'production' ? PRODUCTION_DELAY_MS : 0))
  setTimeout(() => fail(new Error('closing took longer than SHUTDOWN_TIMEOUT_MS')), config.SHUTDOWN_TIMEOUT_MS)
  await drain(app)
  await app.close()
})

try {
  await app.register(service)
  await app.listen({ host: app.config.HOST, port: app.config.PORT })
  await app.lifecycle.start()
  app.log.info('ready')
} catch (err) {
  // A signal that comes while the service starts ends its tasks.
  if (app.lifecycle?.phase !== 'draining') fail(err)
}

/** Logs once and exits 1. The log is written synchronously, so nothing of it is lost. */
function fail(err: unknown): never {
  app.log.fatal({ err }, app.lifecycle?.phase === 'draining' ? 'cannot leave in time' : 'cannot start')
  process.exit(1)
}

/**
 * No new connections; each open one gets one more answer, with `connection: close`. Resolves when all are gone.
 * http.Server's own close() would cut idle keep-alive connections at once, with requests already on their way.
 */
async function drain({ server }: FastifyInstance): Promise<void> {
  const closed = once(server, 'close')
  server.prependListener('request', (_request, response) => {
    response.shouldKeepAlive = false
  })
  Server.prototype.close.call(server)
  await Promise.race([closed, sleep(LAST_REQUEST_MS)])
  const idle = setInterval(() => server.closeIdleConnections(), 50)
  await closed
  clearInterval(idle)
}
