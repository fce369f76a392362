import { Cluster, Command, type Redis, type RedisOptions } from 'ioredis'
import { type Config, problemsThatHold, type Settings, text } from '../../core/config/settings.ts'
import { commonOptions, type Listener, presentAccess, type Topology } from '../client.ts'
import { areHosts, hosts } from '../hosts.ts'
import { reconnectDelay } from '../present.ts'
import { KEY, serves } from '../serves.ts'
import { accessOf, problemOf } from '../url.ts'

/** A node that left is in the map of the slots until its replica has taken over: it is asked for this often. */
const SLOTS_REFRESH_MS = 200
const SLOTS = 16_384
/** As many keys for the check as find one for each of some hundred masters. */
const KEYS = 1_000

const settings = {
  REDIS_CLUSTER_NODES: text(
    'host:6379,host:6379, some nodes of a Redis Cluster; user, password and TLS come from REDIS_URL',
  ),
}

declare module '../../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** A Redis Cluster: its keys are spread over several masters. */
const cluster: Topology = {
  name: 'cluster',
  setting: 'REDIS_CLUSTER_NODES',
  settings,

  problems({ REDIS_CLUSTER_NODES: nodes, REDIS_URL: url }) {
    return problemsThatHold({
      'REDIS_CLUSTER_NODES is not a list of host:port': nodes && !areHosts(nodes),
      'REDIS_URL names a database, of which a Redis Cluster has none':
        nodes && url && !problemOf(url) && accessOf(url).db > 0,
    })
  },

  reasons: {
    codes: { unreachable: ['CLUSTERDOWN'] },
    // What ioredis says of a Cluster of which it knows no node, or none that answers.
    messages: [
      ['refused', /^Cluster (isn't ready|is )|^None of startup nodes is available|^Failed to refresh slots cache/],
      ['unreachable', /^Too many Cluster redirections/],
    ],
  },

  client(config, listener) {
    if (config.REDIS_CLUSTER_NODES === undefined) return undefined
    const nodes = hosts(config.REDIS_CLUSTER_NODES, 6_379)
    const redis = clusterClient(config, nodes, listener)
    const keys = Array.from({ length: KEYS }, (_, n) => slotted(`${KEY}:${n}`))
    return { redis, hosts: nodes.map(({ host }) => host), ping: () => ping(redis, keys) }
  },
}

export default cluster

function clusterClient(config: Config, nodes: ReturnType<typeof hosts>, listener: Listener): Cluster {
  const present = presentAccess(config, listener)
  const access = () => {
    const { username, password, tls } = present()
    return { username, password, tls } as Pick<RedisOptions, 'username' | 'password' | 'tls'>
  }
  const client = new Cluster(nodes, {
    lazyConnect: true,
    enableOfflineQueue: false,
    // ioredis would ask a node that is still connecting and take its refusal for an answer: health asks them all.
    enableReadyCheck: false,
    clusterRetryStrategy: reconnectDelay,
    // A command is not kept for a node that may be back: its caller would wait longer than its timeout.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
    // The connection looks the name up itself, and TLS can verify it.
    dnsLookup: (name, found) => found(null, name),
    redisOptions: { ...commonOptions(config), ...access() },
  })
  client.on('+node', (node: Redis) => {
    // Nodes have options of their own, and ioredis sets none of them again.
    Object.assign(node.options, access())
    // Connect to each master now: a command sent while it is still connecting fails.
    if (!node.options.readOnly) node.connect().catch(() => {})
  })
  client.on('node error', (err) => client.emit('error', err))
  let refresh: NodeJS.Timeout | undefined
  client.on('-node', () => {
    listener.onLost()
    if (refresh) return
    refresh = setTimeout(() => {
      refresh = undefined
      client.refreshSlotsCache()
    }, SLOTS_REFRESH_MS).unref()
  })
  return client
}

interface Slotted {
  key: string
  slot: number
}

function slotted(key: string): Slotted {
  return { key, slot: new Command('get', [key]).getSlot() }
}

/** Resolves when the master of every slot answers, takes writes and says that the whole is well. */
async function ping(client: Cluster, keys: Slotted[]): Promise<void> {
  const masters = new Map(client.nodes('master').map((node) => [`${node.options.host}:${node.options.port}`, node]))
  const masterOf = (slot: number) => client.slots[slot]?.[0]
  const serving = new Set(Array.from({ length: SLOTS }, (_, slot) => masterOf(slot)))
  await Promise.all(
    Array.from(serving, async (name) => {
      const node = masters.get(name as string)
      const ownKey = keys.find(({ slot }) => masterOf(slot) === name)
      const [info] = await Promise.all([node?.cluster('INFO'), node && serves(node, ownKey?.key)])
      if (!String(info).includes('cluster_state:ok')) throw new Error('CLUSTERDOWN Not all slots are served')
    }),
  )
}
