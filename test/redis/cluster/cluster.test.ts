import { fastify } from 'fastify'
import type { Cluster } from 'ioredis'
import t, { type Test } from 'tap'
import type { Server } from '../../../dev/server.ts'
import topology from '../../../src/redis/cluster/index.ts'
import { build, configure } from '../../support/app.ts'
import { sharedDatabase, until } from '../../support/helper.ts'
import { Service } from '../../support/process.ts'
import { command } from '../../support/redis-command.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'
import { databasePassed, Prober, probers } from '../../support/tools.ts'
import { CLUSTER_RIGHTS, RIGHTS } from '../rights.ts'
import { cluster, faults, healthy, masters, withoutMaster } from './nodes.ts'

const all = await cluster(t)
const VARIABLES = { MIGRATIONS: 'off', ...all.variables }
const KEYS = Array.from({ length: 20 }, (_, key) => String(key))

for (const [name, fault] of Object.entries(faults)) {
  t.test(`one master ${name}: degraded until its replica serves, never unready, no restart`, async (t) => {
    const app = await build(t, VARIABLES)
    const { live, ready, health } = probers(t, await app.listen({ port: 0, host: '127.0.0.1' }))
    await health.next(200)
    const write = (value: string) =>
      until(() => Promise.all(KEYS.map((key) => app.redis.set(key, value))).catch((err) => err.message), Array.isArray)
    await write('before')
    const started = performance.now()
    await withoutMaster(all, fault, async () => {
      t.match((await health.next(503)).body, { status: 'degraded', services: { database: { status: 'ok' } } })
      await health.next(200)
      t.comment(`well again after ${Math.round(performance.now() - started)} ms`)
      await write('written')
    })
    ready.failedAtMost(t, 0, live, databasePassed) // ready throughout
    t.equal(health.count(0), 0)
    for (const prober of [health, ready]) prober.inTime(t, live)
    t.notMatch(JSON.stringify(app.logs), /hunter/)
  })
}

t.test('a user and a password that are rotated are used for the next connections', async (t) => {
  const { REDIS_URL: url = '', ...variables } = all.variables
  const directory = t.testdir({ url })
  const app = await build(t, { ...variables, MIGRATIONS: 'off', REDIS_URL: '', REDIS_URL_FILE: `${directory}/url` })
  await healthy(app)
  t.testdir({ url: Object.assign(new URL(url), { username: 'two', password: 'hunter3' }).href })
  for (const server of all.servers) {
    await command(server, 'ACL', 'SETUSER', 'two', 'on', '>hunter3', 'allcommands', 'allkeys')
    await command(server, 'CLIENT', 'KILL', 'USER', 'default')
  }
  await until(
    () =>
      Promise.all((app.redis as unknown as Cluster).nodes('master').map((node) => node.call('ACL', 'WHOAMI'))).catch(
        () => [],
      ),
    (users) => users.length === 3 && users.every((user) => user === 'two'),
  )
  await healthy(app)
})

t.test('a master that is full or lacks its replica is degraded, by its reason', async (t) => {
  const app = await build(t, VARIABLES)
  await healthy(app)
  const [one] = (await masters(all)) as [Server]
  for (const [setting, value, reason] of [
    ['maxmemory', 1, 'limit'],
    ['min-replicas-to-write', 2, 'readonly'],
  ] as const) {
    await command(one, 'CONFIG', 'SET', setting, value)
    t.match((await app.inject('/health')).json(), { status: 'degraded', services: { redis: { reason } } })
    await command(one, 'CONFIG', 'SET', setting, 0)
    await healthy(app)
  }
})

t.test('the user that the documentation makes is enough', async (t) => {
  for (const server of all.servers) {
    await command(server, 'ACL', 'SETUSER', 'service', ...RIGHTS, ...CLUSTER_RIGHTS)
    await command(server, 'ACL', 'LOG', 'RESET')
  }
  const REDIS_URL = 'redis://service:password@by-cluster'
  const service = new Service(t, { ...VARIABLES, REDIS_URL, DATABASE_URL: await sharedDatabase() })
  await new Prober(t, `${await service.url()}/health`).next(200)
  for (const server of all.servers) {
    const refused = (await command(server, 'ACL', 'LOG')) as string[][]
    t.same(
      refused.map((entry) => entry[entry.indexOf('object') + 1]).filter((object) => object !== 'client|setinfo'),
      [],
    )
  }
  t.notMatch(service.output, /^[^{]/m, 'ioredis prints nothing of its own')
})

t.test('boot waits for no Cluster, and one that comes later is found, and lost', async (t) => {
  const { servers } = all
  await Promise.all(servers.map((server) => server.stop()))
  const app = await build(t, VARIABLES, async (fastify) => {
    fastify.get('/', () => fastify.redis.get('key'))
  })
  t.match((await app.inject('/health')).json(), { status: 'degraded', services: { redis: { reason: 'refused' } } })
  // Two rounds in which it finds nobody, with all that it says in between.
  const requests = async () => {
    let rounds = 0
    app.redis.on('reconnecting', () => rounds++)
    const answers = new Set<number>()
    await until(
      async () => answers.add((await app.inject('/')).statusCode),
      () => rounds > 1,
    )
    t.same([...answers], [503])
  }
  await requests()
  await Promise.all(servers.map((server) => server.start()))
  await healthy(app)
  await Promise.all(servers.map((server) => server.stop()))
  await until(
    async () => (await app.inject('/health')).json(),
    ({ status }) => status === 'degraded',
  )
  await requests()
})

const LISTENER = { onLost() {}, log: fastify().log }

async function client(t: Test, variables: NodeJS.ProcessEnv) {
  return topology.client(await configure(t, { DATABASE_URL, ...variables }), LISTENER)?.redis as Cluster
}

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'one:port' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'user:hunter2@one' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [
    { DATABASE_URL, REDIS_CLUSTER_NODES: 'one', REDIS_URL: 'redis://:hunter2@host/1' },
    'REDIS_URL names a database, of which a Redis Cluster has none',
  ],
  [
    { DATABASE_URL, REDIS_CLUSTER_NODES: 'one', REDIS_URL: 'redis://:hunter2@host?db=1' },
    'REDIS_URL names a database, of which a Redis Cluster has none',
  ],
])

t.test('a Cluster takes user, password and TLS from REDIS_URL', async (t) => {
  const variables = { REDIS_CLUSTER_NODES: 'one,two:7000' }
  const plain = await client(t, { ...variables, REDIS_URL: 'redis://by-cluster/0' })
  t.match(plain.options.redisOptions, { username: undefined, password: undefined, tls: undefined })
  const full = await client(t, { ...variables, REDIS_URL: 'rediss://me:a%2Fb@by-cluster' })
  t.match(full.options.redisOptions, { username: 'me', password: 'a/b', tls: { rejectUnauthorized: true } })
  t.ok(full.isCluster)
})
