import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Port } from './core/port.ts'
import { takeSignals } from './core/signals.ts'

/** In production a load balancer has this long to see that the service is not ready. */
const PRODUCTION_DELAY_MS = 5_000
/** A start that has failed is over so soon, whoever does not take what it has to tell. */
const FAILED_MS = 2_000
/** Node's exit code for a start that waits for what never comes. */
const UNSETTLED = 13

let app: FastifyInstance | undefined
let port: Port | undefined
/** The start is over, or cut short. */
let settled = false

// Before the other imports, which take most of the boot: process 1 of a container loses a signal that nobody handles.
takeSignals({
  async leave(signal) {
    settled = true
    if (signal) app?.log.info({ signal }, 'leaving')
    const served = app?.lifecycle?.phase === 'serving'
    app?.lifecycle?.drain()
    if (app && port && served) await leave(app, port)
    else await app?.lifecycle?.flush()
  },
  report(err) {
    if (app) app.log.fatal({ err }, 'uncaught error')
    else console.error(err) // there is no logger yet
  },
  abandon(signal) {
    app?.log.error({ signal, requests: port?.unanswered }, 'leaving at once')
  },
})

// As Node would itself, if this awaited the start at its top level, which a script of the build cannot.
process.on('exit', (code) => {
  if (code === 0 && !settled) process.exitCode = UNSETTLED
})
start().finally(() => {
  settled = true
})

async function start(): Promise<void> {
  const [{ createFastify }, { shareLookups }, { watchPort }, { default: service }] = await Promise.all([
    import('./core/requests.ts'),
    import('./core/lookup.ts'),
    import('./core/port.ts'),
    import('./app.ts'),
  ])
  shareLookups()
  app = createFastify()
  port = watchPort(app)

  try {
    await app.register(service)
    await port.open(app.config.HOST, app.config.PORT)
    await app.lifecycle.start()
    app.log.info('ready')
  } catch (err) {
    // A signal during the start ends the start tasks, which is no failure.
    if (app.lifecycle?.phase !== 'draining') {
      app.log.fatal({ err }, 'cannot start')
      if (app.lifecycle) app.lifecycle.endsAt = performance.now() + FAILED_MS
      await app.lifecycle?.flush()
      process.exit(1)
    }
  }
}

/** Serves on, unready, for the delay; then has `SHUTDOWN_TIMEOUT_MS` to answer what is open and close the rest. */
async function leave(app: FastifyInstance, port: Port): Promise<void> {
  const { NODE_ENV, SHUTDOWN_DELAY_MS, SHUTDOWN_TIMEOUT_MS } = app.config
  await sleep(SHUTDOWN_DELAY_MS ?? (NODE_ENV === 'production' ? PRODUCTION_DELAY_MS : 0))
  const err = new Error('closing took longer than SHUTDOWN_TIMEOUT_MS')
  app.lifecycle.endsAt = performance.now() + SHUTDOWN_TIMEOUT_MS
  const late = setTimeout(() => {
    app.log.fatal({ err, requests: port.unanswered }, 'cannot leave in time')
    process.exit(1)
  }, SHUTDOWN_TIMEOUT_MS)
  await port.drain()
  await app.close()
  clearTimeout(late)
}
