import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { secret } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { backoff } from '../core/retry.ts'
import { service } from '../core/service.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3
const MAX_RECONNECT_DELAY_MS = 500

export interface Client {
  /** Not connected yet. Every command answers or fails within its timeout. */
  redis: Redis | Cluster
  /** Resolves when every server that is needed answers. */
  ping(): Promise<unknown>
}

/** Another way to reach Redis than over the one address of `REDIS_URL`. */
export interface Topology extends Feature {
  /** The setting that asks for it, by its servers. */
  servers: string
  /** The client, where the settings ask for this way. `onLost` is to be told of a server that is lost. */
  client(config: Config, onLost: () => void): Client | undefined
}

/** Milliseconds. */
export const reconnectDelay = (attempt: number) => backoff(attempt, MAX_RECONNECT_DELAY_MS)

/** The options of each connection, whichever server it leads to. */
export function connectionOptions({ REDIS_COMMAND_TIMEOUT_MS: timeout }: Config) {
  return {
    lazyConnect: true,
    connectionName: service.name,
    clientInfoTag: service.name,
    connectTimeout: timeout,
    commandTimeout: timeout,
    socketTimeout: timeout * SOCKET_TIMEOUTS,
    // A hung server does not take part in closing a connection either.
    disconnectTimeout: timeout,
    maxRetriesPerRequest: 0,
    // A command whose caller has its error already must not run behind its back.
    autoResendUnfulfilledCommands: false,
  }
}

/** The same for a client that has one connection. */
export function clientOptions(config: Config) {
  return {
    ...connectionOptions(config),
    enableOfflineQueue: false,
    retryStrategy: reconnectDelay,
    // After a failover the old connection leads to a replica.
    reconnectOnError: ({ message }: Error) => message.startsWith('READONLY'),
  }
}

/** The present password of `REDIS_URL`. */
export function password(config: Config): string {
  return decodeURIComponent(new URL(secret(config, 'REDIS_URL') as string).password)
}

/**
 * Before a new connection: puts what `read` returns into its options. A secret's file that is away for a moment must not throw,
 * because the old password may still be valid: whoever listens to the client is told.
 */
export function renew(client: Redis | Cluster, options: RedisOptions, read: () => object): void {
  try {
    Object.assign(options, read())
  } catch (err) {
    client.emit('error', err)
  }
}

/** A client of the one server that `REDIS_URL` names. */
export function singleClient(config: Config): Client {
  const redis = new Redis(config.REDIS_URL, clientOptions(config))
  redis.on('reconnecting', () => renew(redis, redis.options, () => ({ password: password(config) })))
  return { redis, ping: () => redis.ping() }
}

/** A client for each server that holds keys. */
export function servers(client: Redis | Cluster): Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client]
}
