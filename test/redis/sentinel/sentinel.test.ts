import { fastify } from 'fastify'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startRedis } from '../../../dev/redis.ts'
import type { Server } from '../../../dev/server.ts'
import { reasonOf } from '../../../src/core/reasons.ts'
import sentinel from '../../../src/redis/sentinel/index.ts'
import { build, configure } from '../../support/app.ts'
import { sharedDatabase, until } from '../../support/helper.ts'
import { Service } from '../../support/process.ts'
import { command } from '../../support/redis-command.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'
import { databasePassed, Prober, probers, SHIPPED } from '../../support/tools.ts'
import { type Group, group } from './group.ts'

const faults: Record<string, { break(group: Group): unknown; shows: boolean }> = {
  'is killed': { break: ({ master }) => master.stop('immediate'), shows: true },
  freezes: { break: ({ master }) => master.pause(), shows: true },
  'is relieved by command': {
    break: ({ sentinels: [any] }) => command(any as Server, 'SENTINEL', 'FAILOVER', 'main'),
    shows: false,
  },
}

for (const [name, fault] of Object.entries(faults)) {
  t.test(`the master ${name}: degraded until there is another, never unready, no restart`, async (t) => {
    const all = await group(t)
    const app = await build(t, all.variables)
    const { live, ready, health } = probers(t, await app.listen({ port: 0, host: '127.0.0.1' }))
    await health.next(200)
    await until(
      () =>
        app.redis
          .set('key', 'value')
          .then(() => app.redis.wait(1, 100))
          .catch((err) => err.message),
      (replicas) => replicas === 1,
    )

    const started = performance.now()
    const broken = fault.break(all)
    const over = until(
      () =>
        app.redis
          .set('after', 'failover')
          .then(() => app.redis.info('server'))
          .catch(() => ''),
      (info) => info.includes(`tcp_port:${all.replica.port}`),
    ).then(() => t.comment(`writes again after ${Math.round(performance.now() - started)} ms`))
    if (fault.shows)
      t.match((await health.next(503)).body, { status: 'degraded', services: { database: { status: 'ok' } } })
    await Promise.all([broken, over])
    // A sentinel that announces the new master later than the others makes ioredis connect once more.
    const kept = await until(
      () => app.redis.get('key').catch(() => undefined),
      (value) => value !== undefined,
    )
    t.equal(kept, 'value')
    await health.next(200)
    ready.failedAtMost(t, 0, live, databasePassed) // ready throughout
    t.equal(health.count(0), 0)
    for (const prober of [health, ready]) prober.inTime(t, live)
    t.notMatch(JSON.stringify(app.logs), /hunter/)
  })
}

t.test('boot waits for no sentinel, and what is given up is tried again', async (t) => {
  const all = await group(t)
  const [one, two, three] = all.sentinels as [Server, Server, Server]
  one.pause()
  await Promise.all([two.stop(), three.stop()])
  const service = new Service(t, { ...SHIPPED, ...all.variables, DATABASE_URL: await sharedDatabase() })
  const url = await service.url()
  const health = new Prober(t, `${url}/health`)
  t.match((await health.next(503)).body, { services: { redis: { status: 'error' } } })
  await two.start()
  await health.next(200)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.notMatch(service.output, /hunter/)
  t.notMatch(service.output, /^[^{]/m, 'ioredis prints nothing of its own')
})

t.test('a user and a password that are rotated are used for the next connection', async (t) => {
  const all = await group(t)
  const { REDIS_URL: url = '', ...variables } = all.variables
  const directory = t.testdir({ url })
  const app = await build(t, { ...variables, REDIS_URL: '', REDIS_URL_FILE: `${directory}/url` })
  await command(all.master, 'ACL', 'SETUSER', 'two', 'on', '>hunter3', 'allcommands', 'allkeys')
  t.testdir({ url: Object.assign(new URL(url), { username: 'two', password: 'hunter3' }).href })
  await until(
    async () => app.redis.status,
    (status) => status === 'ready',
  )
  await command(all.master, 'CLIENT', 'KILL', 'TYPE', 'normal')
  await until(
    () => app.redis.call('ACL', 'WHOAMI').catch(() => {}),
    (user) => user === 'two',
  )
  await until(
    () => app.inject('/health'),
    ({ statusCode }) => statusCode === 200,
  )
})

t.test('a sentinel that names a replica is not believed for long', async (t) => {
  const all = await group(t)
  const stale = await startRedis({ password: 'hunter3', flags: ['--sentinel'] })
  t.teardown(() => stale.close())
  await command(stale, 'SENTINEL', 'MONITOR', 'main', '127.0.0.1', all.replica.port, 9)
  const { REDIS_SENTINELS = '', ...variables } = all.variables
  const app = await build(t, { ...variables, REDIS_SENTINELS: `127.0.0.1:${stale.port},${REDIS_SENTINELS}` })
  await until(
    () => app.redis.set('key', 'value').catch((err) => err.message),
    (answer) => answer === 'OK',
  )
  await until(
    () => app.inject('/health'),
    ({ statusCode }) => statusCode === 200,
  )
})

t.test('a database out of range is an error, and no other is used', async (t) => {
  const all = await group(t)
  const app = await build(t, { ...all.variables, REDIS_URL: `${all.variables['REDIS_URL']}/99` })
  let rounds = 0
  app.redis.on('reconnecting', () => rounds++)
  const reasons = new Set()
  await until(
    async () => {
      const { services } = (await app.inject('/health')).json()
      reasons.add(services.redis.reason)
      return app.redis.set('key', 'value').catch(() => {})
    },
    () => rounds > 4,
  )
  t.same([...reasons].pop(), 'error')
  t.equal(await command(all.master, 'DBSIZE'), 0)
})

const LISTENER = { onLost() {}, log: fastify().log }

async function client(t: Test, variables: NodeJS.ProcessEnv) {
  return sentinel.client(await configure(t, { DATABASE_URL, ...variables }), LISTENER)?.redis as Redis
}

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_SENTINELS: 'one,two' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [{ DATABASE_URL, REDIS_SENTINEL_NAME: 'main' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [
    { DATABASE_URL, REDIS_SENTINELS: 'one:26379,', REDIS_SENTINEL_NAME: 'main' },
    'REDIS_SENTINELS is not a list of host:port',
  ],
])

t.test('Sentinel takes user, password, database and TLS from REDIS_URL, and has a password of its own', async (t) => {
  const variables = { REDIS_SENTINELS: 'one,[::1]:5000', REDIS_SENTINEL_NAME: 'main' }
  const plain = await client(t, { ...variables, REDIS_URL: 'redis://by-sentinel' })
  t.match(plain.options, {
    sentinels: [
      { host: 'one', port: 26_379 },
      { host: '::1', port: 5_000 },
    ],
    name: 'main',
    sentinelPassword: undefined,
    sentinelTLS: undefined,
  })
  const full = { REDIS_URL: 'rediss://me:a%2Fb@by-sentinel/3', REDIS_SENTINEL_PASSWORD: 'c' }
  t.match((await client(t, { ...variables, ...full })).options, {
    username: 'me',
    password: 'a/b',
    db: 3,
    tls: { rejectUnauthorized: true },
    sentinelPassword: 'c',
    enableTLSForSentinelMode: true,
    sentinelTLS: { rejectUnauthorized: true },
  })
})

t.test('sentinels that refuse are told apart from those that cannot be reached', async (t) => {
  const all = 'All sentinels are unreachable. Retrying from scratch after 50ms. Last error: '
  t.equal(reasonOf(new Error(`${all}Connection is closed.`)), 'refused')
  t.equal(reasonOf(new Error(`${all}connect EHOSTUNREACH`)), 'unreachable')
})
