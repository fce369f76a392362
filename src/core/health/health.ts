import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { inBackground } from '../background.ts'
import { ConfigError } from '../config/env.ts'
import { duration, integer, type Settings } from '../config/settings.ts'
import { deadline } from '../deadline.ts'
import { type Reason, reasonOf, redact, whyFetchFailed } from '../reasons.ts'

export const settings = {
  HEALTH_TIMEOUT_MS: integer(800, 1, 900, 'deadline of each health check; probes answer in under a second'),
  HEALTH_CACHE_MS: duration(1_000, 'time for which one answer serves every probe'),
  READINESS_REQUIRES: Type.Unsafe<string[]>({
    type: 'string',
    separator: ',',
    default: 'database',
    description: 'names of the checks that readiness needs, also of your own; empty: none',
  }),
}

declare module '../config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

declare module 'fastify' {
  interface FastifyInstance {
    health: Health
  }
}

export interface Check {
  name: string
  /**
   * A required check that fails makes the service not ready; an optional one makes it degraded. A check is required,
   * too, when `READINESS_REQUIRES` names it.
   */
  required?: boolean
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

/** A failure is remembered for a shorter time than a success, so that the next probe shows a backend that is back. */
const FAILURE_CACHE_MS = 250

class Health {
  /** By name. */
  readonly checks = new Map<string, Check>()
  readonly #app: FastifyInstance
  readonly #failingSince = new Map<string, number>()
  /** The last one, over or not, and until when its results are fresh. */
  #flight: Promise<Results> | undefined
  #freshUntil = 0

  constructor(app: FastifyInstance) {
    this.#app = app
  }

  /** Adds a check to `/health` and `/health/ready`. */
  add(check: Check): void {
    this.checks.set(check.name, check)
    this.invalidate()
  }

  /** Throws ConfigError when `READINESS_REQUIRES` names a check that nobody has added. */
  verify(): void {
    if (this.#app.config.READINESS_REQUIRES.every((name) => this.checks.has(name))) return
    throw new ConfigError([`READINESS_REQUIRES must be a list of: ${[...this.checks.keys()]}`])
  }

  /** Forgets the last answer: a connection was lost or is back. */
  invalidate(): void {
    this.#flight = undefined
  }

  /** The result of every check, by name: the last answer while it is fresh, else one flight for all who ask. */
  results(): Promise<Results> {
    if (this.#flight && performance.now() < this.#freshUntil) return this.#flight
    this.#freshUntil = Number.POSITIVE_INFINITY
    const flight = inBackground(() => this.#runAll()).then((entries) => {
      const results = new Map(entries)
      // A flight that took off before a connection was lost must not be remembered.
      if (this.#flight === flight) this.#remember(results)
      return results
    })
    this.#flight = flight
    return flight
  }

  #runAll(): Promise<[name: string, CheckResult][]> {
    return Promise.all(this.checks.values().map((check) => this.#run(check)))
  }

  #remember(results: Results): void {
    for (const [name, result] of results) this.#logChange(name, result)
    const { HEALTH_CACHE_MS: cacheMs } = this.#app.config
    this.#freshUntil = performance.now() + (this.#failingSince.size > 0 ? Math.min(FAILURE_CACHE_MS, cacheMs) : cacheMs)
  }

  async #run({ name, required: always, check }: Check): Promise<[name: string, CheckResult]> {
    const { HEALTH_TIMEOUT_MS: timeoutMs, READINESS_REQUIRES } = this.#app.config
    const required = always === true || READINESS_REQUIRES.includes(name)
    const started = performance.now()
    const late = Promise.withResolvers<never>()
    const controller = new AbortController()
    const { signal } = controller
    const timer = deadline(timeoutMs, () => {
      controller.abort(Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' }))
      late.reject()
    })
    try {
      await Promise.race([Promise.try(check, signal), late.promise]).finally(() => clearTimeout(timer))
      return [name, { required, status: 'ok', latencyMs: Math.round((performance.now() - started) * 10) / 10 }]
    } catch (err) {
      // A check that heeds the signal fails with an error of its own making.
      const error = signal.aborted ? signal.reason : whyFetchFailed(err)
      return [name, { required, status: 'error', latencyMs: null, reason: reasonOf(error), error }]
    }
  }

  #logChange(check: string, { status, reason, error }: CheckResult): void {
    const since = this.#failingSince.get(check)
    if (status === 'error' && since === undefined) {
      this.#failingSince.set(check, performance.now())
      this.#app.log.warn({ check, reason, err: redact(error) }, 'health check failed')
    } else if (status === 'ok' && since !== undefined) {
      this.#failingSince.delete(check)
      this.#app.log.info({ check, durationMs: Math.round(performance.now() - since) }, 'health check recovered')
    }
  }
}

/** `app.health`: checks that run together, each with its own deadline, one flight at a time, and a short memory. */
export default fp(
  async function health(fastify) {
    fastify.decorate('health', new Health(fastify))
    // By then every plugin has added its checks, also the service's own.
    fastify.addHook('onReady', async () => fastify.health.verify())
  },
  { name: 'health', fastify: '5.x', dependencies: ['env'] },
)
