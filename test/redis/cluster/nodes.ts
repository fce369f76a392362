import type { Test } from 'tap'
import { startRedis } from '../../../dev/redis.ts'
import type { Server } from '../../../dev/server.ts'
import type { App } from '../../support/app.ts'
import { until } from '../../support/helper.ts'
import { command } from '../../support/redis-command.ts'

const PASSWORD = 'hunter2'
/** A node that says nothing for this long is given up. */
const NODE_TIMEOUT_MS = 1_000
const SLOTS = 16_384

export interface Cluster {
  servers: Server[]
  variables: NodeJS.ProcessEnv
}

/** Three masters that share the slots, and a replica of each. Which is which changes: ask `masters()`. */
export async function cluster(t: Test): Promise<Cluster> {
  const settings = {
    masterauth: PASSWORD,
    'cluster-enabled': 'yes',
    'cluster-node-timeout': String(NODE_TIMEOUT_MS),
    'cluster-replica-validity-factor': '0',
    'repl-diskless-sync-delay': '0',
  }
  const servers = await Promise.all(Array.from({ length: 6 }, () => startRedis({ password: PASSWORD, settings })))
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  const [masters, replicas] = [servers.slice(0, 3), servers.slice(3)]
  const share = Math.ceil(SLOTS / 3)
  for (const [index, server] of servers.entries()) {
    await command(server, 'CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
    await command(servers[0] as Server, 'CLUSTER', 'MEET', '127.0.0.1', server.port)
  }
  for (const [index, master] of masters.entries()) {
    const last = Math.min(SLOTS, (index + 1) * share) - 1
    // ADDSLOTSRANGE takes Redis 7.
    const slots = Array.from({ length: last + 1 - index * share }, (_, n) => index * share + n)
    await command(master, 'CLUSTER', 'ADDSLOTS', ...slots)
  }
  const everywhere = (what: string) =>
    Promise.all(
      servers.map((server) =>
        until(
          () => command(server, 'CLUSTER', 'INFO') as Promise<string>,
          (info) => info.includes(what),
        ),
      ),
    )
  await everywhere('cluster_known_nodes:6')
  for (const [index, replica] of replicas.entries()) {
    const id = (await command(masters[index] as Server, 'CLUSTER', 'MYID')) as string
    await command(replica, 'CLUSTER', 'REPLICATE', id)
  }
  await everywhere('cluster_state:ok')
  for (const replica of replicas) {
    await until(
      () => command(replica, 'INFO', 'replication') as Promise<string>,
      (info) => info.includes('master_link_status:up'),
    )
  }
  const variables = {
    REDIS_URL: `redis://:${PASSWORD}@by-cluster`,
    // By name, as they are given: the nodes themselves tell their addresses.
    REDIS_CLUSTER_NODES: [masters[0], replicas[0]].map((server) => `localhost:${server?.port}`).join(','),
  }
  return { servers, variables }
}

const role = async (server: Server) => (await command(server, 'ROLE')) as [role: string, ...rest: unknown[]]

/** Those that are masters by their own word, while all of them run. */
export async function masters({ servers }: Cluster): Promise<Server[]> {
  const roles = await Promise.all(servers.map(role))
  return servers.filter((_, index) => roles[index]?.[0] === 'master')
}

/** What can happen to a master, and how it is undone. */
export const faults: Record<string, { break(master: Server): unknown; mend(master: Server): unknown }> = {
  killed: { break: (master) => master.stop('immediate'), mend: (master) => master.start() },
  frozen: { break: (master) => master.pause(), mend: (master) => master.resume() },
}

/** Breaks a master while `run` looks, and mends it whatever comes of that: by then it is a replica of its own replica. */
export async function withoutMaster(
  all: Cluster,
  fault: (typeof faults)[string],
  run: () => Promise<void>,
): Promise<void> {
  const [lost] = (await masters(all)) as [Server]
  const running = run()
  try {
    await fault.break(lost)
    await running
  } finally {
    running.catch(() => {})
    await fault.mend(lost)
  }
  await until(
    () => role(lost),
    ([is, , , link]) => is === 'slave' && link === 'connected',
  )
}

export const healthy = (app: App) =>
  until(
    () => app.inject('/health'),
    ({ statusCode }) => statusCode === 200,
  )
