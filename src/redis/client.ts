import type { FastifyBaseLogger } from 'fastify'
import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { rotating } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { service } from '../core/service.ts'
import './deadlines.ts'
import { presentClient } from './present.ts'
import { serves } from './serves.ts'
import { type Access, accessOf, problemOf } from './url.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3

export interface Client {
  /** Not connected yet. Every command answers or fails within its timeout. */
  redis: Redis | Cluster
  /** The hosts that the settings name. */
  hosts: string[]
  /** Resolves when every server that is needed answers and takes writes. */
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

/** The options of each connection, whichever server it leads to. */
export function commonOptions({ REDIS_COMMAND_TIMEOUT_MS: timeout }: Config) {
  return {
    lazyConnect: true,
    // It would need INFO, which proxies and some managed servers lack (ioredis issue 780), and wait in silence for a
    // server that loads. The health check says so.
    enableReadyCheck: false,
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

/** A client of the one server that `REDIS_URL` names. */
export function singleClient(config: Config, listener: Listener): Client {
  const access = presentAccess(config, listener)
  const redis = presentClient(() => new Redis({ ...clientOptions(config), ...access() } as Options))
  return { redis, hosts: [access().host], ping: () => serves(redis) }
}
