import { rm } from 'node:fs/promises'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import type { Server } from '../../dev/server.ts'
import { reasonOf } from '../../src/core/reasons.ts'
import { service } from '../../src/core/service.ts'
import { type App, build, connected } from '../support/app.ts'
import { event, until } from '../support/helper.ts'
import { command } from '../support/redis-command.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

// Faults of a Redis that answers, and refuses.

type Options = Parameters<typeof startRedis>[0]

async function server(t: Test, options?: Options): Promise<Server> {
  const redis = await startRedis(options)
  t.teardown(() => redis.close())
  return redis
}

const health = async (app: App) => (await app.inject('/health')).json()
const says = (app: App, reason: string | undefined) =>
  until(
    () => health(app),
    ({ services }) => services.redis.reason === reason,
  )
const lines = (app: App, message: string) => app.logs.filter(({ msg }) => msg === message)

const faults: Record<string, { reason: string; break: [string, ...string[]][]; mend: [string, ...string[]][] }> = {
  'is a replica': { reason: 'readonly', break: [['REPLICAOF', '127.0.0.1', '1']], mend: [['REPLICAOF', 'NO', 'ONE']] },
  'lacks its replicas': {
    reason: 'readonly',
    break: [['CONFIG', 'SET', 'min-replicas-to-write', '1']],
    mend: [['CONFIG', 'SET', 'min-replicas-to-write', '0']],
  },
  'is full': {
    reason: 'limit',
    break: [['CONFIG', 'SET', 'maxmemory', '1']],
    mend: [['CONFIG', 'SET', 'maxmemory', '0']],
  },
}

for (const [name, fault] of Object.entries(faults)) {
  t.test(`a Redis that ${name} is degraded, keeps its connection and serves reads`, async (t) => {
    const redis = await server(t)
    const app = await connected(await build(t, { REDIS_URL: redis.url }))
    await app.redis.set('key', 'value')
    let closed = 0
    app.redis.on('close', () => closed++)
    for (const each of fault.break) await command(redis, ...each)
    t.match(await health(app), { status: 'degraded', services: { redis: { reason: fault.reason } } })
    for (let n = 0; n < 50; n++) {
      const [write, read, probe] = await Promise.all([
        app.redis.set('key', 'other').catch(reasonOf),
        app.redis.get('key'),
        health(app),
      ])
      t.same([write, read, probe.services.redis.reason], [fault.reason, 'value', fault.reason])
    }
    for (const each of fault.mend) await command(redis, ...each)
    await says(app, undefined)
    t.equal(closed, 0)
    t.equal(lines(app, 'health check failed').length, 1)
  })
}

t.test('a Redis that cannot save to its disk is readonly', async (t) => {
  const dir = t.testdir({})
  const redis = await server(t, { settings: { dir, save: '3600 1000000' } })
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  await rm(dir, { recursive: true })
  await command(redis, 'BGSAVE')
  await says(app, 'readonly')
  t.equal(reasonOf(await app.redis.set('key', 'value').catch((err) => err)), 'readonly')
  await command(redis, 'CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no')
  await says(app, undefined)
})

t.test('a replica that has lost its master, and serves nothing, is loading', async (t) => {
  const redis = await server(t)
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  await command(redis, 'CONFIG', 'SET', 'replica-serve-stale-data', 'no')
  await command(redis, 'REPLICAOF', '127.0.0.1', '1')
  t.equal((await health(app)).services.redis.reason, 'loading')
  t.equal(reasonOf(await app.redis.get('key').catch((err) => err)), 'loading')
  await command(redis, 'REPLICAOF', 'NO', 'ONE')
  await says(app, undefined)
})

t.test('a Redis that runs a long script is late', async (t) => {
  const redis = await server(t, { settings: { 'busy-reply-threshold': '1' } })
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  const script = command(redis, 'EVAL', 'while true do end', 0).catch(String)
  const busy = await until(
    () => app.redis.get('key').catch((err) => err),
    (err) => String(err?.message).startsWith('BUSY'),
  )
  t.equal(reasonOf(busy), 'timeout')
  t.equal((await health(app)).services.redis.reason, 'timeout')
  await command(redis, 'SCRIPT', 'KILL')
  await says(app, undefined)
  await script
})

t.test('a Redis that loads says so, and is well as soon as it has loaded', async (t) => {
  const settings = {
    appendonly: 'no',
    'enable-debug-command': 'yes',
    'key-load-delay': '1000',
    'loading-process-events-interval-bytes': '1024',
  }
  const redis = await server(t, { directory: t.testdir({}), settings })
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  await command(redis, 'DEBUG', 'POPULATE', '60000')
  await command(redis, 'SAVE')
  await redis.stop('immediate')
  const started = redis.start()
  await says(app, 'loading')
  t.equal(reasonOf(await app.redis.get('key:1').catch((err) => err)), 'loading')
  await command(redis, 'CONFIG', 'SET', 'key-load-delay', '0')
  await started
  await says(app, undefined)
  t.equal(await app.redis.get('key:1'), 'value:1')
})

t.test('behind one address, a replica is left for the new master', async (t) => {
  const [old, other] = await Promise.all([server(t, { password: 'hunter2' }), server(t, { password: 'hunter2' })])
  const proxy = await TcpProxy.start(t, old.url)
  const app = await connected(await build(t, { REDIS_URL: proxy.url }))
  await command(old, 'REPLICAOF', '127.0.0.1', other.port)
  const before = proxy.count
  const started = performance.now()
  await until(
    () => Promise.all([app.redis.set('key', 'value').catch(reasonOf), app.redis.get('key')]),
    () => proxy.count - before > 4,
  )
  const ms = performance.now() - started
  t.ok(
    ms > 1_500,
    `it looks twice a second whether there is a new one, not more often: 4 times in ${Math.round(ms)} ms`,
  )
  t.equal(app.redis.status, 'ready')
  proxy.lead(other.url)
  await until(
    () => app.redis.set('key', 'value').catch(reasonOf),
    (said) => said === 'OK',
  )
  t.equal(await command(other, 'GET', 'key'), 'value')
  await says(app, undefined)
})

t.test('a duplicate follows the master for itself, with the options that it was given', async (t) => {
  const [old, other] = await Promise.all([server(t, { password: 'hunter2' }), server(t, { password: 'hunter2' })])
  const proxy = await TcpProxy.start(t, old.url)
  const app = await connected(await build(t, { REDIS_URL: proxy.url }))
  const twin = app.redis.duplicate({ db: 3, lazyConnect: false })
  t.teardown(() => twin.disconnect())
  await event(twin, 'ready')
  await command(old, 'REPLICAOF', '127.0.0.1', other.port)
  proxy.lead(other.url)
  const writes = (client: Redis) =>
    until(
      () => client.set('key', 'value').catch(reasonOf),
      (said) => said === 'OK',
    )
  await writes(app.redis)
  let closed = 0
  app.redis.on('close', () => closed++)
  await writes(twin)
  t.match(await command(other, 'INFO', 'keyspace'), /^db0:keys=1,.*\r\ndb3:keys=1,/m)
  t.equal(closed, 0)
})

t.test('a client that has found the new master by itself stays there', async (t) => {
  const [old, other] = await Promise.all([server(t, { password: 'hunter2' }), server(t, { password: 'hunter2' })])
  const proxy = await TcpProxy.start(t, old.url)
  const app = await connected(await build(t, { REDIS_URL: proxy.url }))
  await command(old, 'REPLICAOF', '127.0.0.1', other.port)
  proxy.lead(other.url)
  proxy.slow(200)
  t.equal(await app.redis.set('key', 'value').catch(reasonOf), 'readonly')
  await until(
    () => proxy.count,
    (count) => count === 2,
  )
  const found = event(app.redis, 'ready')
  proxy.lose(1)
  await found
  let closed = 0
  app.redis.on('close', () => closed++)
  await until(
    () => command(other, 'CLIENT', 'LIST'),
    (list) => String(list).split(`name=${service.name}`).length === 2,
  )
  t.equal(await app.redis.set('key', 'value'), 'OK')
  t.equal(closed, 0)
})

t.test('a replica is not left for a master that lacks the database', async (t) => {
  const [old, few] = await Promise.all([
    server(t, { password: 'hunter2' }),
    server(t, { password: 'hunter2', settings: { databases: '1' } }),
  ])
  const proxy = await TcpProxy.start(t, old.url)
  const app = await connected(await build(t, { REDIS_URL: `${proxy.url}/5` }))
  await app.redis.set('key', 'value')
  await command(old, 'REPLICAOF', '127.0.0.1', few.port)
  proxy.lead(few.url)
  const said = await until(
    () => Promise.all([app.redis.set('key', 'other').catch(reasonOf), app.redis.get('key')]),
    () => proxy.count > 3,
  )
  t.same(said, ['readonly', 'value'])
  t.equal(await command(few, 'DBSIZE'), 0)
})

const USER = { username: 'service', password: 'hunter3' }
const as = (url: string, path = '') => Object.assign(new URL(url), USER, { pathname: path }).href
const allow = (redis: Server, ...rules: string[]) =>
  command(redis, 'ACL', 'SETUSER', USER.username, 'on', `>${USER.password}`, '~*', ...rules)

/** Uses nothing of database 0, says why, and does not try more often than without a server. */
async function isRefused(t: Test, redis: Server, app: App, reason: string) {
  const waits: number[] = []
  app.redis.on('reconnecting', (ms: number) => waits.push(ms))
  const said = new Set<string>()
  await until(
    async () => {
      const wrote = await Promise.allSettled([app.redis.set('key', 'value'), app.redis.pipeline().set('key', 1).exec()])
      said.add((await health(app)).services.redis.reason)
      return wrote
    },
    () => waits.length > 7,
  )
  t.same([...said], [reason])
  t.ok(Math.min(...waits.slice(-3)) >= 250, `it waits longer and longer: ${waits.map(Math.round)} ms`)
  t.equal(await command(redis, 'DBSIZE'), 0)
  t.match(lines(app, 'redis failed'), [{ setting: 'REDIS_URL', reason }])
  t.equal(lines(app, 'redis failed').length, 1)
}

t.test('a database out of range is an error, and no other is used', async (t) => {
  const [few, many] = await Promise.all([
    server(t, { password: 'hunter2', settings: { databases: '1' } }),
    server(t, { password: 'hunter2' }),
  ])
  const proxy = await TcpProxy.start(t, few.url)
  const app = await build(t, { REDIS_URL: `${proxy.url}/5` })
  await isRefused(t, few, app, 'error')
  proxy.lead(many.url)
  await says(app, undefined)
  await app.redis.set('key', 'value')
  t.match(await command(many, 'INFO', 'keyspace'), /^db5:keys=1/m)
})

t.test('a SELECT that is late and then refused uses no other database', async (t) => {
  const few = await server(t, { settings: { databases: '1' } })
  const proxy = await TcpProxy.start(t, few.url)
  proxy.hold('select')
  const app = await build(t, { REDIS_URL: `${proxy.url}/5` })
  app.redis.on('ready', () => app.redis.set('key', 'value').catch(() => {}))
  await says(app, 'timeout')
  proxy.release()
  await says(app, 'error')
  t.equal(await command(few, 'DBSIZE'), 0)
})

t.test('a database that the user may not select is an error, and no other is used', async (t) => {
  const redis = await server(t)
  await allow(redis, '+@all', '-select')
  const app = await build(t, { REDIS_URL: as(redis.url, '/5') })
  await isRefused(t, redis, app, 'auth')
  await allow(redis, '+select')
  await says(app, undefined)
  await app.redis.set('key', 'value')
  t.match(await command(redis, 'INFO', 'keyspace'), /^db5:keys=1/m)
})

for (const [name, options, rules] of [
  ['has no INFO', { settings: { 'rename-command INFO': '' } }, []],
  ['forbids INFO', {}, ['-info']],
] as const) {
  t.test(`a server that ${name} is well`, async (t) => {
    const redis = await server(t, options)
    await allow(redis, '+@all', ...rules)
    const app = await connected(await build(t, { REDIS_URL: as(redis.url) }))
    t.equal((await health(app)).status, 'healthy')
  })
}

t.test('a user that may not write the key of the check is well, and told of a replica', async (t) => {
  const redis = await server(t)
  await allow(redis, 'resetkeys', '~other:*', '+@all')
  const proxy = await TcpProxy.start(t, redis.url)
  const app = await connected(await build(t, { REDIS_URL: as(proxy.url) }))
  t.equal((await health(app)).status, 'healthy')
  await command(redis, 'REPLICAOF', '127.0.0.1', '1')
  const said = await until(
    () => Promise.all([app.redis.set('other:key', '').catch(reasonOf), app.redis.get('other:key').catch(reasonOf)]),
    () => proxy.count > 3,
  )
  t.same(said, ['readonly', null], 'it keeps its connection')
  t.equal((await health(app)).services.redis.reason, 'readonly')
})

t.test('a user that only reads is well at a replica', async (t) => {
  const redis = await server(t)
  await allow(redis, '+@all', '-@write')
  await command(redis, 'REPLICAOF', '127.0.0.1', '1')
  const app = await connected(await build(t, { REDIS_URL: as(redis.url) }))
  t.equal((await health(app)).status, 'healthy')
})

t.test('the check writes nothing', async (t) => {
  const redis = await server(t)
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  t.equal((await health(app)).status, 'healthy')
  t.match(await command(redis, 'INFO', 'persistence'), /^rdb_changes_since_last_save:0\r$/m)
})

t.test('a transaction has the reason of the command that failed', async (t) => {
  const redis = await server(t)
  await allow(redis, '+@all', '-append')
  const app = await connected(await build(t, { REDIS_URL: as(redis.url) }))
  const transaction = () => app.redis.multi().get('key').append('key', 'more').exec().catch(reasonOf)
  t.equal(await transaction(), 'auth')
  await allow(redis, '+@all')
  await command(redis, 'CONFIG', 'SET', 'maxmemory', 1)
  t.equal(await transaction(), 'limit')
})
