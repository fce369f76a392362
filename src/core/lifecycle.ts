import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { duration, integer, type Settings } from './config/settings.ts'
import { respond } from './respond.ts'

export const settings = {
  HOST: Type.String({ default: '127.0.0.1', description: 'address to listen on; :: in a container: IPv6 and IPv4' }),
  PORT: integer(3000, 0, 65_535, 'port to listen on; 0 takes a free one'),
  SHUTDOWN_DELAY_MS: Type.Optional(
    duration(undefined, 'time to serve on after SIGTERM, not ready; default: 5000 in production, else 0'),
  ),
  SHUTDOWN_TIMEOUT_MS: duration(10_000, 'time to close in, after the delay; then the exit code is 1', 1),
}

declare module './config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

declare module 'fastify' {
  interface FastifyInstance {
    lifecycle: Lifecycle
  }
  interface FastifyContextConfig {
    /** Answers also while the service starts. */
    duringStart?: boolean
  }
}

/**
 * `signal` aborts when the service begins to leave. `waitFor` tells readiness what the task waits for; until it is called,
 * readiness names the task itself.
 */
export type StartTask = (context: { signal: AbortSignal; waitFor: (what: string) => void }) => Promise<void>

/** The three states of the process, starting → serving → draining, and the tasks that come before it serves. */
class Lifecycle {
  phase: 'starting' | 'serving' | 'draining' = 'starting'
  /** Whether it ever served. A service that is told to leave before that must not begin to answer. */
  started = false
  waitingFor: string | undefined
  /** The start tasks that readiness shows, and whether each is done. */
  readonly tasks = new Map<string, boolean>()
  /** All of them, by name. */
  readonly runs = new Map<string, StartTask>()
  /** What must not be lost when the process ends, whether it has served or not. */
  readonly flushes: (() => Promise<void>)[] = []
  /** When the process ends, however far it is: by `performance.now()`. */
  endsAt = Number.POSITIVE_INFINITY
  readonly #abort = new AbortController()

  /**
   * Registers a task that runs once the port is open, after those registered before it, and before the service serves. A
   * task that throws fails the boot. One that is not `shown` is no check of readiness. A job that goes on for as long as
   * the service runs is begun by a task, which does not wait for it: docs/examples.md. Throws when a task has that name.
   */
  add(name: string, run: StartTask, { shown = true } = {}): void {
    if (this.runs.has(name)) throw new Error(`A start task is named ${name} already`)
    this.runs.set(name, run)
    if (shown) this.tasks.set(name, false)
  }

  /** Runs the start tasks in order, then serves. Rejects with the first task's error. */
  async start(): Promise<void> {
    for (const [name, run] of this.runs) {
      const waitFor = (what: string) => {
        this.waitingFor = what
      }
      waitFor(name)
      await run({ signal: this.#abort.signal, waitFor })
      this.#abort.signal.throwIfAborted()
      if (this.tasks.has(name)) this.tasks.set(name, true)
    }
    this.waitingFor = undefined
    this.phase = 'serving'
    this.started = true
  }

  /** Before an exit that closes nothing. */
  async flush(): Promise<void> {
    await Promise.all(this.flushes.map((flush) => flush()))
  }

  /** From here on readiness says no, and start tasks that still run are told to stop. */
  drain(): void {
    this.phase = 'draining'
    this.#abort.abort()
  }
}

/** `app.lifecycle`, and the gate that answers 503 on every route until the service serves. */
export default fp(
  async function lifecycle(fastify) {
    const state = new Lifecycle()
    fastify.decorate('lifecycle', state)
    // Not onClose: those hooks run backwards, and a plugin's may wait for what the signal of a task ends.
    fastify.addHook('preClose', async () => state.drain())

    fastify.addHook('onRequest', (request, reply, done) => {
      if (state.started || request.routeOptions.config.duringStart === true) return done()
      respond(reply, { status: 503, code: 'STARTING', message: 'The service is starting' })
    })
  },
  { name: 'lifecycle', fastify: '5.x' },
)
