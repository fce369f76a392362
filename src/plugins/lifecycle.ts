import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    lifecycle: Lifecycle
  }
  interface FastifyContextConfig {
    /** Answers also while the service starts. */
    duringStart?: boolean
  }
}

/** `waitFor` names, for readiness, what the task waits for; until it is called, that is the task itself. */
export type StartTask = (context: { signal: AbortSignal; waitFor: (what: string) => void }) => Promise<void>

/** The three states of the process, starting → serving → draining, and what must be done before it serves. */
class Lifecycle {
  phase: 'starting' | 'serving' | 'draining' = 'starting'
  waitingFor: string | undefined
  readonly #tasks = new Map<string, { run: StartTask; shown: boolean; done: boolean }>()
  readonly #abort = new AbortController()

  /**
   * Registers a task to run, after those before it, once the port is open. A task that throws fails the boot.
   * One that is not `shown` is no check of readiness.
   */
  add(name: string, run: StartTask, { shown = true } = {}): void {
    this.#tasks.set(name, { run, shown, done: false })
  }

  /** Runs the start tasks in order, then serves. Rejects with the first task's error. */
  async start(): Promise<void> {
    for (const [name, task] of this.#tasks) {
      const waitFor = (what: string) => {
        this.waitingFor = what
      }
      waitFor(name)
      await task.run({ signal: this.#abort.signal, waitFor })
      this.#abort.signal.throwIfAborted()
      task.done = true
    }
    this.waitingFor = undefined
    this.phase = 'serving'
  }

  /** Each start task that readiness shows, by name, and whether it is done. */
  tasks(): [name: string, done: boolean][] {
    return Array.from(this.#tasks)
      .filter(([, { shown }]) => shown)
      .map(([name, { done }]) => [name, done])
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
    fastify.addHook('onClose', async () => state.drain())

    fastify.addHook('onRequest', (request, reply, done) => {
      if (state.phase !== 'starting' || request.routeOptions.config.duringStart === true) return done()
      reply.header('retry-after', '1')
      done(Object.assign(new Error('The service is starting'), { statusCode: 503, code: 'STARTING' }))
    })
  },
  { name: 'lifecycle', fastify: '5.x' },
)
