import type { FastifyBaseLogger } from 'fastify'
import fp from 'fastify-plugin'
import { type Reason, reasonOf, redact } from '../reasons.ts'

declare module 'fastify' {
  interface FastifyInstance {
    health: Health
  }
}

export interface Check {
  name: string
  /** A required check that fails makes the service not ready; an optional one makes it degraded. */
  required: boolean
  /** Rejects when the backend does not serve. Given up when the signal aborts, after `HEALTH_TIMEOUT_MS`. */
  check: (signal: AbortSignal) => Promise<void>
}

export interface CheckResult {
  required: boolean
  status: 'ok' | 'error'
  /** Milliseconds; null when the check failed. */
  latencyMs: number | null
  reason?: Reason
  /** For the log, never for an answer. */
  error?: unknown
}

export type Results = Map<string, CheckResult>

/** A failure is asked about again sooner than a success: a backend that is back must show in the next probe. */
const FAILURE_CACHE_MS = 250

class Health {
  readonly #log: FastifyBaseLogger
  readonly #timeoutMs: number
  readonly #cacheMs: number
  readonly #checks: Check[] = []
  readonly #failingSince = new Map<string, number>()
  #flight: Promise<Results> | undefined
  #cached: { results: Results; until: number } | undefined

  constructor(log: FastifyBaseLogger, timeoutMs: number, cacheMs: number) {
    this.#log = log
    this.#timeoutMs = timeoutMs
    this.#cacheMs = cacheMs
  }

  /** Adds a check to `/health` and `/health/ready`. */
  add(check: Check): void {
    this.#checks.push(check)
    this.invalidate()
  }

  /** Forgets the last answer: a connection was lost or is back. */
  invalidate(): void {
    this.#cached = undefined
    this.#flight = undefined
  }

  /** The result of every check, by name: the last answer while it is fresh, else one flight for all who ask. */
  async results(): Promise<Results> {
    if (this.#cached && performance.now() < this.#cached.until) return this.#cached.results
    this.#flight ??= this.#fly()
    return this.#flight
  }

  #fly(): Promise<Results> {
    const runs = this.#checks.map(async (check) => [check.name, await this.#run(check)] as const)
    const flight = Promise.all(runs).then((entries) => {
      const results: Results = new Map(entries)
      // A flight that took off before a connection was lost must not be remembered.
      if (this.#flight === flight) this.#remember(results)
      return results
    })
    return flight
  }

  #remember(results: Results): void {
    let cacheMs = this.#cacheMs
    for (const [name, result] of results) {
      this.#logChange(name, result)
      if (result.status === 'error') cacheMs = Math.min(FAILURE_CACHE_MS, this.#cacheMs)
    }
    this.#cached = { results, until: performance.now() + cacheMs }
    this.#flight = undefined
  }

  #run({ required, check }: Check): Promise<CheckResult> {
    const started = performance.now()
    const deadline = Promise.withResolvers<never>()
    const controller = new AbortController()
    const { signal } = controller
    const timer = setTimeout(() => {
      controller.abort(Object.assign(new Error(`no answer within ${this.#timeoutMs} ms`), { code: 'ETIMEDOUT' }))
      deadline.reject(signal.reason)
    }, this.#timeoutMs)
    return Promise.race([Promise.try(check, signal), deadline.promise])
      .then(
        (): CheckResult => {
          const latencyMs = Math.round((performance.now() - started) * 10) / 10
          return { required, status: 'ok', latencyMs }
        },
        (err): CheckResult => {
          // A check that heeds the signal fails with an error of its own making.
          const error = signal.aborted ? signal.reason : err
          return { required, status: 'error', latencyMs: null, reason: reasonOf(error), error }
        },
      )
      .finally(() => clearTimeout(timer))
  }

  #logChange(check: string, { status, reason, error }: CheckResult): void {
    const since = this.#failingSince.get(check)
    if (status === 'error' && since === undefined) {
      this.#failingSince.set(check, performance.now())
      this.#log.warn({ check, reason, err: redact(error) }, 'health check failed')
    } else if (status === 'ok' && since !== undefined) {
      this.#failingSince.delete(check)
      this.#log.info({ check, durationMs: Math.round(performance.now() - since) }, 'health check recovered')
    }
  }
}

/** `app.health`: checks that run together, each with its own deadline, one flight at a time, and a short memory. */
export default fp(
  async function health(fastify) {
    const { HEALTH_TIMEOUT_MS, HEALTH_CACHE_MS } = fastify.config
    fastify.decorate('health', new Health(fastify.log, HEALTH_TIMEOUT_MS, HEALTH_CACHE_MS))
  },
  { name: 'health', fastify: '5.x', dependencies: ['env'] },
)
