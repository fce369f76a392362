import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { startRedis } from '../../dev/redis.ts'
import { sharedDatabase, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { command } from '../support/redis-command.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { ask, databasePassed, Prober, ROUTES, reasonOf, SHIPPED } from '../support/tools.ts'

// Each test leaves it as it was.
const redis = await startRedis()
t.teardown(() => redis.close())

async function setUp(t: Test, databaseUrl?: string) {
  t.teardown(() => redis.restore())
  const proxy = await TcpProxy.start(t, redis.url)
  const DATABASE_URL = databaseUrl ?? (await sharedDatabase())
  const service = new Service(t, { ...SHIPPED, ...ROUTES, DATABASE_URL, REDIS_URL: proxy.url })
  const url = await service.url()
  await service.logged('ready')
  // Together: the first answers are the slowest.
  const live = new Prober(t, `${url}/health/live`)
  const health = new Prober(t, `${url}/health`)
  const ready = new Prober(t, `${url}/health/ready`)
  await health.next(200)
  const { listeners } = (await ask(`${url}/pool`)).body
  return { proxy, service, url, health, ready, live, listeners }
}

type SetUp = Awaited<ReturnType<typeof setUp>>

const faults: Record<string, { break(all: SetUp): unknown; mend(all: SetUp): unknown; reason: RegExp }> = {
  'is stopped': { break: () => redis.stop(), mend: () => redis.start(), reason: /refused/ },
  hangs: { break: () => redis.pause(), mend: () => redis.resume(), reason: /timeout/ },
  'is behind a network that swallows every packet': {
    break: ({ proxy }) => proxy.swallow(),
    mend: ({ proxy }) => proxy.heal(),
    reason: /timeout/,
  },
  'is full': {
    break: () => command(redis, 'CONFIG', 'SET', 'maxmemory', 1),
    mend: () => command(redis, 'CONFIG', 'SET', 'maxmemory', 0),
    reason: /limit/,
  },
  'is read-only': {
    break: () => command(redis, 'REPLICAOF', '127.0.0.1', 1),
    mend: () => command(redis, 'REPLICAOF', 'NO', 'ONE'),
    reason: /readonly/,
  },
}

for (const [name, fault] of Object.entries(faults)) {
  t.test(`Redis ${name}: degraded, ready, and healthy by itself`, async (t) => {
    const all = await setUp(t)
    await fault.break(all)
    const degraded = await all.health.next(503, (answer) => fault.reason.test(reasonOf(answer, 'redis') ?? ''))
    t.match(degraded.body, { status: 'degraded', services: { database: { status: 'ok' }, redis: { status: 'error' } } })
    await fault.mend(all)
    await all.health.next(200)
    t.equal(all.service.child.exitCode, null, 'the process lives')
    all.ready.failedAtMost(t, 0, all.live, databasePassed) // ready throughout
    t.equal(all.health.count(0), 0)
    for (const prober of [all.health, all.ready]) prober.inTime(t, all.live)
    await until(
      async () => (await ask(`${all.url}/pool`)).body['listeners'],
      (listeners) => listeners === all.listeners, // none leaked
    )
  })
}

t.test('Redis hangs, and boot does not wait', async (t) => {
  t.teardown(() => redis.restore())
  redis.pause()
  const service = new Service(t, { ...SHIPPED, DATABASE_URL: await sharedDatabase(), REDIS_URL: redis.url })
  const url = await service.url()
  await service.logged('ready')
  await new Prober(t, `${url}/health/ready`).next(200)
  const health = new Prober(t, `${url}/health`)
  t.match((await health.next(503)).body, { status: 'degraded' })
  redis.resume()
  await health.next(200)
})

for (const fault of ['pause', 'stop'] as const) {
  t.test(`SIGTERM while Redis ${fault === 'pause' ? 'hangs' : 'is stopped'}: exit 0`, async (t) => {
    const { service } = await setUp(t)
    await redis[fault]()
    service.child.kill('SIGTERM')
    t.equal(await service.exited, 0)
  })
}

t.test('SIGTERM while both backends hang: exit 0', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const { service, url } = await setUp(t, postgres.url)
  await ask(`${url}/query`)
  postgres.pause()
  redis.pause()
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})
