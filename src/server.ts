import { once } from 'node:events'
import { Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import { shareLookups } from './core/lookup.ts'

/** In production a load balancer has this long to see that the service is not ready. */
const PRODUCTION_DELAY_MS = 5_000
/** An idle connection has this long to bring one more request, once the port is closed. */
const LAST_REQUEST_MS = 1_000

let app: FastifyInstance | undefined

// Listen for signals before the other imports, which take most of the boot: process 1 of a container loses a signal
// that nobody handles.
closeWithGrace({ delay: false, logger: { error: (...args) => app?.log.error(args[0]) } }, async ({ signal, err }) => {
  if (!app) {
    if (err) console.error(err) // there is no logger yet
    return
  }
  if (err) app.log.fatal({ err }, 'uncaught error')
  else app.log.info({ signal }, 'leaving')
  const served = app.lifecycle?.phase === 'serving'
  app.lifecycle?.drain()
  if (served) await leave(app)
})

shareLookups()

const [{ createFastify }, { default: service }] = await Promise.all([import('./core/requests.ts'), import('./app.ts')])
app = createFastify()

try {
  await app.register(service)
  const { HOST: host, PORT: port } = app.config
  await app.listen({ host, port }).catch((err) => {
    // The kernel has no IPv6. Where it is switched off only, `::` serves IPv4.
    if (host !== '::' || err.code !== 'EAFNOSUPPORT') throw err
    return app.listen({ host: '0.0.0.0', port })
  })
  await app.lifecycle.start()
  app.log.info('ready')
} catch (err) {
  // A signal during the start ends the start tasks, which is no failure.
  if (app.lifecycle?.phase !== 'draining') fail(app, err, 'cannot start')
}

/** Logs once and exits 1. The log is written synchronously, so nothing of it is lost. */
function fail({ log }: FastifyInstance, err: unknown, message: string): never {
  log.fatal({ err }, message)
  process.exit(1)
}

/** Serves on, unready, for the delay; then has `SHUTDOWN_TIMEOUT_MS` to answer what is open and close the rest. */
async function leave(app: FastifyInstance): Promise<void> {
  const { NODE_ENV, SHUTDOWN_DELAY_MS, SHUTDOWN_TIMEOUT_MS: timeoutMs } = app.config
  await sleep(SHUTDOWN_DELAY_MS ?? (NODE_ENV === 'production' ? PRODUCTION_DELAY_MS : 0))
  const late = new Error('closing took longer than SHUTDOWN_TIMEOUT_MS')
  setTimeout(() => fail(app, late, 'cannot leave in time'), timeoutMs)
  // Cut off half-sent requests, so that they cannot delay shutdown.
  app.server.headersTimeout = LAST_REQUEST_MS
  app.server.requestTimeout = Math.ceil(timeoutMs / 2)
  await drain(app)
  await app.close()
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
