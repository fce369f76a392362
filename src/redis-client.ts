import { Cluster, Redis, type SentinelConnectionOptions, SentinelConnector } from 'ioredis'
import { type Config, secret } from './config.ts'
import { backoff } from './retry.ts'
import { service } from './service.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3
const MAX_RECONNECT_DELAY_MS = 500
/** A node that left is in the map of the slots until its replica has taken over: it is asked for this often. */
const SLOTS_REFRESH_MS = 200
const SLOTS = 16_384

const reconnectDelay = (attempt: number) => backoff(attempt, MAX_RECONNECT_DELAY_MS)

/**
 * A client, not connected yet, of one Redis, of the master that Sentinel names or of a Cluster, as the settings say.
 * Every command answers or fails within its timeout.
 */
export function redisClient(config: Config): Redis | Cluster {
  if (config.REDIS_CLUSTER_NODES !== undefined) return clusterClient(config)
  return new Redis(config.REDIS_URL, {
    ...commonOptions(config),
    ...(config.REDIS_SENTINELS !== undefined && sentinelOptions(config)),
    enableOfflineQueue: false,
    retryStrategy: reconnectDelay,
    // After a failover the old connection leads to a replica.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  })
}

function commonOptions({ REDIS_COMMAND_TIMEOUT_MS: timeout }: Config) {
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

function sentinelOptions(config: Config) {
  return {
    sentinels: hosts(config.REDIS_SENTINELS as string, 26_379),
    name: config.REDIS_SENTINEL_NAME as string,
    sentinelPassword: secret(config, 'REDIS_SENTINEL_PASSWORD'),
    ...(config.REDIS_URL.startsWith('rediss:') && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    sentinelCommandTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
    sentinelRetryStrategy: reconnectDelay,
    // Without it a master that hangs is left no sooner than a command has waited for it.
    failoverDetector: true,
    Connector: QuietSentinelConnector,
  }
}

/** Unless somebody listens, ioredis prints the errors of the connections over which it hears of failovers. */
class QuietSentinelConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions)
    const connect = this['connectToSentinel'].bind(this)
    this['connectToSentinel'] = (...args: unknown[]) => connect(...args).on('error', () => {})
  }
}

function clusterClient(config: Config): Cluster {
  const { protocol, username, password } = new URL(config.REDIS_URL)
  const client = new Cluster(hosts(config.REDIS_CLUSTER_NODES as string, 6_379), {
    lazyConnect: true,
    enableOfflineQueue: false,
    // It asks a node that is still connecting, and is told that it is not connected: health asks them all.
    enableReadyCheck: false,
    clusterRetryStrategy: reconnectDelay,
    // A command is not kept for a node that may be back: its caller would wait longer than its timeout.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
    // The connection looks the name up itself, and TLS can verify it.
    dnsLookup: (name, found) => found(null, name),
    redisOptions: {
      ...commonOptions(config),
      ...(username && { username: decodeURIComponent(username) }),
      ...(password && { password: decodeURIComponent(password) }),
      ...(protocol === 'rediss:' && { tls: {} }),
    },
  })
  client.on('+node', (node: Redis) => {
    // What a node is asked while it connects fails at once: it does so before it is asked.
    if (!node.options.readOnly) node.connect().catch(() => {})
  })
  let refresh: NodeJS.Timeout | undefined
  client.on('-node', () => {
    if (refresh) return
    refresh = setTimeout(() => {
      refresh = undefined
      client.refreshSlotsCache()
    }, SLOTS_REFRESH_MS).unref()
  })
  return client
}

function hosts(list: string, defaultPort: number): { host: string; port: number }[] {
  return list.split(',').map((item) => {
    const { hostname, port } = new URL(`redis://${item}`)
    return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || defaultPort) }
  })
}

/** Resolves when Redis answers; in a Cluster, when the master of every slot does and says that the whole is well. */
export async function ping(client: Redis | Cluster): Promise<void> {
  if (client instanceof Redis) {
    await client.ping()
    return
  }
  const masters = new Map(client.nodes('master').map((node) => [`${node.options.host}:${node.options.port}`, node]))
  const serving = new Set(Array.from({ length: SLOTS }, (_, slot) => client.slots[slot]?.[0]))
  await Promise.all(
    Array.from(serving, async (name) => {
      const info = (await masters.get(name as string)?.cluster('INFO')) as string | undefined
      if (!info?.includes('cluster_state:ok')) throw new Error('CLUSTERDOWN Not all slots are served')
    }),
  )
}
