import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import type { Server } from '../../dev/server.ts'
import { type App, build } from '../app.ts'
import { until } from '../helper.ts'
import { command } from './redis-command.ts'
import { PROBE_LIMIT_MS, Prober, QUICK } from './tools.ts'

const PASSWORD = 'hunter2'
/** A node that says nothing for this long is given up. */
const NODE_TIMEOUT_MS = 1_000
const SLOTS = 16_384

interface Cluster {
  masters: Server[]
  /** Of the master at the same place. */
  replicas: Server[]
  variables: NodeJS.ProcessEnv
}

/** Three masters that share the slots, and a replica of each. */
async function cluster(t: Test): Promise<Cluster> {
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
    await command(master, 'CLUSTER', 'ADDSLOTSRANGE', index * share, last)
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
  return { masters, replicas, variables }
}

/** The service, with a cached function that counts its loads. */
async function setUp(t: Test, variables: NodeJS.ProcessEnv) {
  const app = await build(t, { ...QUICK, MIGRATIONS: 'off', ...variables })
  const state = { loads: 0, value: 'first' }
  app.cache.define('thing', { ttl: 60, references: (id: string) => ['all', `thing:${id}`] }, async (_id: string) => {
    state.loads++
    return state.value
  })
  const get = (id: string) => (app.cache as unknown as { thing(id: string): Promise<string> }).thing(id)
  return { app, state, get }
}

// One for all tests: a master that was lost is a replica of its own replica from then on.
const all = await cluster(t)
const IDS = Array.from({ length: 20 }, (_, id) => String(id))

/** Every entry that is in the Cluster. */
async function entries(): Promise<string[]> {
  const keys = await Promise.all(all.masters.map((master) => command(master, 'KEYS', '*cache:*') as Promise<string[]>))
  return keys.flat()
}

/** `get`: asks for each until all are there. */
const cached = (length: number, get?: (id: string) => Promise<string>) =>
  until(
    async () => {
      if (get) await Promise.all(IDS.map(get))
      return entries()
    },
    (keys) => keys.length === length,
  )

const healthy = (app: App) =>
  until(
    () => app.inject('/health'),
    ({ statusCode }) => statusCode === 200,
  )

t.test('the cache works over the slots: it loads once, and invalidates on every replica', async (t) => {
  const patient = { ...all.variables, REDIS_COMMAND_TIMEOUT_MS: '10000' }
  const one = await setUp(t, patient)
  const two = await setUp(t, patient)
  await Promise.all([healthy(one.app), healthy(two.app)])
  for (const id of IDS) t.equal(await one.get(id), 'first')
  await cached(IDS.length)
  for (const id of IDS) t.equal(await two.get(id), 'first')
  t.equal(one.state.loads + two.state.loads, IDS.length, 'one load for both')
  for (const master of all.masters) {
    for (const key of (await command(master, 'KEYS', '*')) as string[]) {
      t.ok(((await command(master, 'TTL', key)) as number) > 0, `${key} expires`)
    }
  }

  two.state.value = 'second'
  await one.app.cache.invalidate('thing', ['thing:7'])
  t.same([await two.get('7'), await two.get('8')], ['second', 'first'])
  await cached(IDS.length)
  await one.app.cache.invalidate('thing', ['all'])
  t.equal(await two.get('8'), 'second')
  await cached(1)
  await cached(IDS.length, two.get)
  await one.app.cache.clear('thing', '3')
  await cached(IDS.length - 1)
  await one.app.cache.clear('thing')
  t.same(await entries(), [])
})

const faults: Record<string, { break(master: Server): unknown; mend(master: Server): unknown }> = {
  killed: { break: (master) => master.stop('immediate'), mend: (master) => master.start() },
  frozen: { break: (master) => master.pause(), mend: (master) => master.resume() },
}

for (const [name, fault] of Object.entries(faults)) {
  t.test(`one master ${name}: degraded until its replica serves, the cache answers, no restart`, async (t) => {
    const { app, state, get } = await setUp(t, all.variables)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as { port: number }
    const [ready, health] = ['/health/ready', '/health'].map(
      (route) => new Prober(t, `http://127.0.0.1:${port}${route}`),
    ) as [Prober, Prober]
    await health.next(200)
    await cached(IDS.length, get)

    const [lost, heir] = [all.masters.shift(), all.replicas.shift()] as [Server, Server]
    const started = performance.now()
    await fault.break(lost)
    state.value = 'second'
    // Of some it cannot be known what they refer to: their index is away.
    await app.cache.invalidate(
      'thing',
      IDS.map((id) => `thing:${id}`),
    )
    t.match((await health.next(503)).body, { status: 'degraded', services: { database: { status: 'ok' } } })
    let over = false
    const back = health.next(200).then(() => {
      over = true
      t.comment(`well again after ${Math.round(performance.now() - started)} ms`)
    })
    let slowest = 0
    const answers = new Set<string>()
    while (!over) {
      for (const id of IDS) {
        const asked = performance.now()
        answers.add(await get(id))
        slowest = Math.max(slowest, performance.now() - asked)
      }
      await sleep(50)
    }
    await back
    for (const answer of answers) t.match(answer, /^(first|second)$/)
    t.ok(slowest < PROBE_LIMIT_MS, `no call waits for more than a command: ${Math.round(slowest)} ms`)
    await until(
      () => Promise.all(IDS.map(get)),
      (values) => values.every((value) => value === 'second'),
    )
    t.pass('what could not be invalidated is so as soon as the slots are served')
    for (const id of IDS) await app.redis.set(id, 'written')
    t.equal(ready.count(503) + ready.count(0) + health.count(0), 0, 'ready throughout')
    for (const prober of [health, ready]) {
      t.ok(prober.slowest < PROBE_LIMIT_MS, `in under a second: ${Math.round(prober.slowest)} ms`)
    }
    t.notMatch(JSON.stringify(app.logs), /hunter/)
    await fault.mend(lost)
    await until(
      () => command(lost, 'ROLE') as Promise<[string]>,
      ([role]) => role === 'slave',
    )
    all.masters.push(heir)
    all.replicas.push(lost)
    await cached(IDS.length, get)
    await app.cache.clear('thing')
  })
}

t.test('boot waits for no Cluster, and one that comes later is found, and lost', async (t) => {
  const servers = [...all.masters, ...all.replicas]
  await Promise.all(servers.map((server) => server.stop()))
  const { app, get } = await setUp(t, all.variables)
  t.match((await app.inject('/health')).json(), { status: 'degraded', services: { redis: { reason: 'refused' } } })
  await t.rejects(app.redis.get('key'))
  t.equal(await get('a'), 'first')
  await Promise.all(servers.map((server) => server.start()))
  await healthy(app)
  await Promise.all(servers.map((server) => server.stop()))
  await until(
    async () => (await app.inject('/health')).json(),
    ({ status }) => status === 'degraded',
  )
  await t.rejects(app.redis.get('key'))
})
