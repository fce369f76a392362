import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { secret } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { backoff } from '../core/retry.ts'
import { service } from '../core/service.ts'
import './deadlines.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3
const MAX_RECONNECT_DELAY_MS = 500

export interface Client {
  /** Not connected yet. Every command answers or fails within its timeout. */
  redis: Redis | Cluster
  /** Resolves when every server that is needed answers. */
  ping(): Promise<unknown>
}

/** Is told of a server that is lost, and of a failure that is no connection's. */
export interface Listener {
  onLost(): void
  onFailed(err: unknown): void
}

/** Another way to reach Redis than over the one address of `REDIS_URL`. */
export interface Topology extends Feature {
  /** The setting that asks for it. */
  setting: string
  /** The client, where the settings ask for this way. */
  client(config: Config, listener: Listener): Client | undefined
}

/** Milliseconds. */
export const reconnectDelay = (attempt: number) => backoff(attempt, MAX_RECONNECT_DELAY_MS)

/** The options of each connection, whichever server it leads to. */
export function commonOptions({ REDIS_COMMAND_TIMEOUT_MS: timeout }: Config) {
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
    ...commonOptions(config),
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
 * Puts a secret's present value into the options of the next connection. A file that is away keeps the old value, which
 * may do.
 */
export function renew(options: RedisOptions, read: () => object, { onFailed }: Listener): void {
  try {
    Object.assign(options, read())
  } catch (err) {
    onFailed(err)
  }
}

/** A client of the one server that `REDIS_URL` names. */
export function singleClient(config: Config, listener: Listener): Client {
  const redis = new Redis(config.REDIS_URL, clientOptions(config))
  redis.on('reconnecting', () => renew(redis.options, () => ({ password: password(config) }), listener))
  return { redis, ping: () => redis.ping() }
}

/** A client for each server that takes writes. */
export function masters(client: Redis | Cluster): Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client]
}
