import { type Cluster, Redis } from 'ioredis'
import type { Config } from '../core/config/settings.ts'
import { type Client, clientOptions, password, renew } from './options.ts'
import { parts } from './parts.ts'

/** A client of Redis as the settings say: the first of the parts that they ask for, else of the one that REDIS_URL names. */
export function redisClient(config: Config, onLost: () => void): Client {
  for (const part of parts) {
    const client = part.client(config, onLost)
    if (client) return client
  }
  const redis = new Redis(config.REDIS_URL, clientOptions(config))
  redis.on('reconnecting', () => renew(redis, redis.options, () => ({ password: password(config) })))
  return { redis, ping: () => redis.ping() }
}

/** A client for each server that holds keys. */
export function servers(client: Redis | Cluster): Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client]
}
