import fp from 'fastify-plugin'
import { type AnyOptions, CachedFunction, type Shared } from './cached.ts'
import { Failures } from './failures.ts'
import { Flights } from './flights.ts'
import { redisKeys } from './keys.ts'
import type { Cached, Cloned, Load, Options, References, Result, Transformer } from './types.ts'
import { Versions } from './versions.ts'

declare module 'fastify' {
  interface FastifyInstance {
    cache: Cache
  }
}

/** `app.cache`. Whatever Redis does, a call answers: from its load, and at most `REDIS_COMMAND_TIMEOUT_MS` later. */
export default fp(
  async function cache(fastify) {
    const { config, log, redis } = fastify
    const keys = redisKeys(config.REDIS_KEY_PREFIX)
    const failures = new Failures(log)
    const versions = new Versions(redis, keys.everything, failures)
    fastify.decorate('cache', new Cache({ keys, failures, versions, flights: new Flights(), refreshing: new Set() }))
  },
  { name: 'cache', fastify: '5.x', dependencies: ['env', 'redis'] },
)

export class Cache {
  readonly #shared: Shared
  readonly #functions = new Map<string, CachedFunction>()

  constructor(shared: Shared) {
    this.#shared = shared
  }

  /**
   * Adds a function of this name, which answers from Redis what `load` has answered. Times are in seconds. Every caller
   * gets a value of its own, the same on a hit and on a miss. Without options, concurrent callers share one load, and
   * its value. Throws where the name is taken or an option cannot be what it is.
   */
  define<L extends Load, N extends string>(
    name: N,
    options: Options<L> & { transformer: Transformer<Result<L>> },
    load: L,
  ): this & Record<N, Cached<L, Result<L>>>
  define<L extends Load, N extends string>(
    name: N,
    options: Options<L> & { transformer?: never },
    load: L,
  ): this & Record<N, Cached<L, Cloned<Result<L>>>>
  define<L extends Load, N extends string>(name: N, load: L): this & Record<N, Cached<L, Result<L>>>
  define(name: string, ...rest: [load: Load] | [options: AnyOptions, load: Load]): unknown {
    const load = rest.at(-1) as Load
    const options = rest.length > 1 ? (rest[0] as AnyOptions) : {}
    if (name in this) throw new Error(`${name} is already defined in the cache or it is a forbidden name`)
    if (typeof load !== 'function') throw new TypeError(`Missing the function parameter for '${name}'`)
    check(options)
    const cached = new CachedFunction(name, options, load, this.#shared)
    this.#functions.set(name, cached)
    return Object.assign(this, { [name]: cached.call })
  }

  /**
   * Makes every entry with one of these references unread, of whatever function, on every replica. Once it has resolved,
   * no call answers what was loaded before; as soon as Redis is back, if it is away. Throws for a name that is not
   * defined.
   */
  async invalidate(name: string, references: References): Promise<void> {
    this.#function(name)
    await this.invalidateAll(references)
  }

  /** The same, without a name. */
  async invalidateAll(references: References): Promise<void> {
    await this.#replace(this.#shared.keys.references(references))
  }

  /** Makes unread every entry, or those of one function, or the one of an argument. */
  async clear(name?: string, argument?: unknown): Promise<void> {
    if (name === undefined) return this.#replace([this.#shared.keys.everything])
    const cached = this.#function(name)
    if (argument === undefined) return this.#replace([cached.version])
    const entry = cached.entry(argument)
    this.#shared.flights.drop([entry])
    await this.#shared.versions.invalidations.remove(entry)
  }

  /** By function that stores: calls that were answered by a value of before, and calls that had to wait for a load. */
  get lookups(): Map<string, { hit: number; miss: number }> {
    return new Map(Array.from(this.#functions, ([name, { lookups }]) => [name, lookups]))
  }

  /** How often each part has failed. */
  get failures(): Failures['counts'] {
    return this.#shared.failures.counts
  }

  /** Invalidations that Redis has not taken. */
  get owed(): number {
    return this.#shared.versions.invalidations.owed
  }

  async #replace(versions: string[]): Promise<void> {
    this.#shared.flights.drop(versions)
    await this.#shared.versions.invalidations.replace(versions)
  }

  #function(name: string): CachedFunction {
    const cached = this.#functions.get(name)
    if (!cached) throw new Error(`${name} is not defined in the cache`)
    return cached
  }
}

function check({ ttl, stale, references, serialize, ...rest }: AnyOptions): void {
  for (const [name, value] of Object.entries({ ttl, stale })) {
    const isTime = typeof value === 'number' && Number.isFinite(value) && value >= 0
    if (value && typeof value !== 'function' && !isTime) throw new Error(`${name} must be a number of seconds`)
  }
  for (const [name, value] of Object.entries({ references, serialize })) {
    if (value && typeof value !== 'function') throw new TypeError(`${name} must be a function`)
  }
  // A lookup must know them before there is a value.
  if (references && references.length > 2) throw new TypeError('references cannot know the value: (argument, key) => …')
  if ('storage' in rest) throw new TypeError('storage is no option: the cache is in Redis')
}
