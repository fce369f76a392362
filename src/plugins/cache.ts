import { type Cache, createCache, type StorageInterface } from 'async-cache-dedupe'
import fp from 'fastify-plugin'
import { RedisStorage } from '../cache-storage.ts'

declare module 'fastify' {
  interface FastifyInstance {
    cache: Cache
  }
}

/**
 * `app.cache`: `define(name, { ttl, stale, references }, loader)`, times in seconds, values as JSON gives them back.
 * Whatever Redis does, a call answers: from its loader, and at most `REDIS_COMMAND_TIMEOUT_MS` later than that.
 */
export default fp(
  async function cache(fastify) {
    const { config, log, redis } = fastify
    // Its types give getTTL() no result; its code needs one.
    const storage = new RedisStorage(redis, config.REDIS_KEY_PREFIX, log) as unknown as StorageInterface
    fastify.decorate('cache', createCache({ storage: { type: 'custom', options: { storage } } }))
  },
  { name: 'cache', fastify: '5.x', dependencies: ['env', 'redis'] },
)
