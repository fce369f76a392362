import type { FastifyBaseLogger } from 'fastify'
import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { rotating } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { backoff } from '../core/retry.ts'
import { service } from '../core/service.ts'
import './deadlines.ts'
import { type Access, accessOf, problemOf } from './url.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3
const MAX_RECONNECT_DELAY_MS = 500

export interface Client {
  /** Not connected yet. Every command answers or fails within its timeout. */
  redis: Redis | Cluster
  /** The hosts that the settings name. */
  hosts: string[]
  /** Resolves when every server that is needed answers. */
  ping(): Promise<unknown>
}

/** RedisOptions as the constructor takes them. */
export type Options = RedisOptions & { replyMapping?: 'legacy' }

/** Is told of a server that is lost. `log`: of a secret that cannot be used. */
export interface Listener {
  onLost(): void
  log: FastifyBaseLogger
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

/** Reads whenever it is asked what `REDIS_URL` says. */
export function presentAccess(config: Config, { log }: Listener): () => Access {
  let database: number | undefined
  const use = (url = '') => {
    const problem = problemOf(url)
    if (problem) throw new Error(problem)
    const access = accessOf(url)
    database ??= access.db
    // ioredis selects the database of before in a new connection.
    if (access.db !== database) throw new Error('names another database: that takes a restart')
    return access
  }
  return rotating(config, 'REDIS_URL', use, log)
}

/** The client that `make` makes. Each further connection of it has the options that `make` gives by then. */
export function presentClient(make: () => Redis): Redis {
  const client = make()
  const { options } = client // its connector has the same
  const renew = () => {
    for (const name of Object.keys(options)) delete options[name as keyof RedisOptions]
    Object.assign(options, make().options)
  }
  return client.on('reconnecting', renew).on('end', renew)
}

/** A client of the one server that `REDIS_URL` names. */
export function singleClient(config: Config, listener: Listener): Client {
  const access = presentAccess(config, listener)
  const redis = presentClient(() => new Redis({ ...clientOptions(config), ...access() } as Options))
  return { redis, hosts: [access().host], ping: () => redis.ping() }
}

/** A client for each server that takes writes. */
export function masters(client: Redis | Cluster): Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client]
}
