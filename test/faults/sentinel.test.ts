import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import type { Server } from '../../dev/server.ts'
import { build } from '../app.ts'
import { sharedDatabase, until } from '../helper.ts'
import { Service } from '../process.ts'
import { command } from './redis-command.ts'
import { PROBE_LIMIT_MS, Prober, QUICK } from './tools.ts'

const PASSWORD = 'hunter2'
const SENTINEL_PASSWORD = 'hunter3'
/** A master that says nothing for this long is given up. */
const DOWN_AFTER_MS = 500

interface Group {
  master: Server
  replica: Server
  sentinels: Server[]
  variables: NodeJS.ProcessEnv
}

/** A master, a replica in step with it, and three sentinels that know of each other. */
async function group(t: Test): Promise<Group> {
  const settings = { masterauth: PASSWORD, 'repl-diskless-sync-delay': '0', 'repl-ping-replica-period': '1' }
  const redis = () => startRedis({ password: PASSWORD, settings })
  const sentinel = () =>
    startRedis({
      password: SENTINEL_PASSWORD,
      sentinel: true,
      settings: { 'sentinel sentinel-pass': SENTINEL_PASSWORD },
    })
  const servers = await Promise.all([redis(), redis(), sentinel(), sentinel(), sentinel()])
  const [master, replica, ...sentinels] = servers
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  await command(replica, 'REPLICAOF', '127.0.0.1', master.port)
  await until(
    () => command(replica, 'INFO', 'replication'),
    (info) => String(info).includes('master_link_status:up'),
  )
  for (const sentinel of sentinels) {
    await command(sentinel, 'SENTINEL', 'MONITOR', 'main', '127.0.0.1', master.port, 2)
    await command(sentinel, 'SENTINEL', 'SET', 'main', 'auth-pass', PASSWORD)
    await command(sentinel, 'SENTINEL', 'SET', 'main', 'down-after-milliseconds', DOWN_AFTER_MS)
  }
  for (const sentinel of sentinels) {
    await until(
      () => command(sentinel, 'SENTINEL', 'MASTER', 'main') as Promise<string[]>,
      (fields) =>
        fields[fields.indexOf('num-other-sentinels') + 1] === '2' && fields[fields.indexOf('num-slaves') + 1] === '1',
    )
  }
  const variables = {
    REDIS_URL: `redis://:${PASSWORD}@by-sentinel`,
    REDIS_SENTINELS: sentinels.map(({ port }) => `127.0.0.1:${port}`).join(','),
    REDIS_SENTINEL_NAME: 'main',
    REDIS_SENTINEL_PASSWORD: SENTINEL_PASSWORD,
  }
  return { master, replica, sentinels, variables }
}

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
    const app = await build(t, { ...QUICK, ...all.variables })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as { port: number }
    const [ready, health] = ['/health/ready', '/health'].map(
      (route) => new Prober(t, `http://127.0.0.1:${port}${route}`),
    ) as [Prober, Prober]
    const cache = app.cache.define('thing', { ttl: 60 }, async (id: string) => id)
    await health.next(200)
    await app.redis.set('key', 'value')
    await app.redis.wait(1, 1_000)

    let writes = false
    const started = performance.now()
    const broken = fault.break(all)
    const over = until(
      () =>
        app.redis
          .set('after', 'failover')
          .then(() => app.redis.info('server'))
          .catch(() => ''),
      (info) => info.includes(`tcp_port:${all.replica.port}`),
    ).then(() => {
      writes = true
      t.comment(`writes again after ${Math.round(performance.now() - started)} ms`)
    })
    if (fault.shows)
      t.match((await health.next(503)).body, { status: 'degraded', services: { database: { status: 'ok' } } })
    for (let call = 0; !writes; call++) {
      t.equal(await cache.thing(String(call)), String(call))
      await sleep(50)
    }
    await Promise.all([broken, over])
    // A sentinel that announces the new master later than the others makes ioredis connect once more.
    const kept = await until(
      () => app.redis.get('key').catch(() => undefined),
      (value) => value !== undefined,
    )
    t.equal(kept, 'value')
    await health.next(200)
    t.equal(ready.count(503) + ready.count(0) + health.count(0), 0, 'ready throughout')
    for (const { slowest } of [health, ready]) t.ok(slowest < PROBE_LIMIT_MS, `in under a second: ${slowest} ms`)
    t.notMatch(JSON.stringify(app.logs), /hunter/)
  })
}

t.test('boot waits for no sentinel, and what is given up is tried again', async (t) => {
  const all = await group(t)
  const [one, two, three] = all.sentinels as [Server, Server, Server]
  one.pause()
  await Promise.all([two.stop(), three.stop()])
  const service = new Service(t, { ...QUICK, ...all.variables, DATABASE_URL: await sharedDatabase() })
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
