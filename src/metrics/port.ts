import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { limits } from '../core/limits/limits.ts'
import { watchPort } from '../core/port.ts'
import { createFastify } from '../core/requests.ts'

/** A scraper keeps one. */
const MAX_CONNECTIONS = 16
/** A scrape that is under way is answered within this. Whatever else is open must not use up SHUTDOWN_TIMEOUT_MS. */
const LAST_SCRAPE_MS = 1_000

/**
 * An instance for `METRICS_PORT`, with no route of the service, and with its limits, because whoever reaches the port
 * could use it up. It opens before the service's own port does, and closes when the service has answered its last.
 */
export async function createOwnPort(service: FastifyInstance, number: number): Promise<FastifyInstance> {
  const { config, log } = service
  const app = createFastify()
  app.log.level = log.level
  app.decorate('config', { ...config, MAX_CONNECTIONS })
  await limits(app)
  const port = watchPort(app)
  service.addHook('onReady', async () => {
    await port.open(config.HOST, number, 'Metrics').catch((err: Error) => {
      err.message += ' (METRICS_PORT)'
      throw err
    })
  })
  service.addHook('onClose', async () => {
    // A scraper asks again on another connection, where its idle one is closed.
    if (app.server.listening) await Promise.race([port.drain(0), sleep(LAST_SCRAPE_MS, undefined, { ref: false })])
    app.server.closeAllConnections()
    await app.close()
  })
  return app
}
