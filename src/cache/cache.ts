import { type Cache, createCache, type StorageInterface } from 'async-cache-dedupe'
import fp from 'fastify-plugin'
import { RedisStorage } from './storage.ts'

declare module 'fastify' {
  interface FastifyInstance {
    cache: Cache
    cacheLookups: Lookups
  }
}

/** By cached function: calls whose value Redis had, and calls whose value it lacked. */
export type Lookups = Map<string, { hit: number; miss: number }>

/**
 * `app.cache`: `define(name, { ttl, stale, references }, loader)`, times in seconds, values as JSON gives them back.
 * Whatever Redis does, a call answers: from its loader, and at most `REDIS_COMMAND_TIMEOUT_MS` later than that.
 */
export default fp(
  async function cache(fastify) {
    const { config, log, redis } = fastify
    // Its types give getTTL() no result; its code needs one.
    const storage = new RedisStorage(redis, config.REDIS_KEY_PREFIX, log) as unknown as StorageInterface
    const lookups: Lookups = new Map()
    fastify.decorate('cacheLookups', lookups)
    fastify.decorate('cache', counted(createCache({ storage: { type: 'custom', options: { storage } } }), lookups))
  },
  { name: 'cache', fastify: '5.x', dependencies: ['env', 'redis'] },
)

type Listener = (key: string) => void
type Options = { onHit?: Listener; onMiss?: Listener }

/** async-cache-dedupe tells of hits and misses by key alone, to the function that was defined. */
function counted(cache: Cache, lookups: Lookups): Cache {
  const define = cache.define.bind(cache) as (name: string, ...rest: unknown[]) => unknown
  const counting = (name: string, options: Options, load?: unknown) => {
    // Without options there is no time to live: nothing is looked up.
    if (!load) return define(name, options)
    const counts = { hit: 0, miss: 0 }
    const count = (result: 'hit' | 'miss', tell?: Listener) => (key: string) => {
      counts[result]++
      tell?.(key)
    }
    define(name, { ...options, onHit: count('hit', options.onHit), onMiss: count('miss', options.onMiss) }, load)
    lookups.set(name, counts)
    return cache
  }
  return Object.assign(cache, { define: counting as typeof cache.define })
}
