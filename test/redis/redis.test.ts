import { rm } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import { MISREAD } from '../../src/core/config/urls.ts'
import { parts } from '../../src/redis/parts.ts'
import { type App, build, connected } from '../support/app.ts'
import { event, sharedDatabase, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { DATABASE_URL, eachIsOneProblem, problems } from '../support/settings.ts'

// Each test leaves it as it was.
const redis = await startRedis()
t.teardown(() => redis.close())

t.test('boot does not wait for Redis, and a command fails at once without it', async (t) => {
  t.teardown(() => redis.restore())
  await redis.stop()
  const app = await build(t, { REDIS_URL: redis.url }, async (fastify) => {
    fastify.get('/', () => fastify.redis.get('key'))
  })
  await t.rejects(app.redis.get('key'))
  t.match(await app.inject('/'), { statusCode: 503, headers: { 'retry-after': '1' } })
  t.match((await app.inject('/health')).json(), { status: 'degraded', services: { redis: { reason: 'refused' } } })
})

t.test('a hung Redis costs a command its timeout, no more', async (t) => {
  t.teardown(() => redis.restore())
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  redis.pause()
  await t.rejects(app.redis.get('key'), { message: 'Command timed out' })
  t.match((await app.inject('/health')).json(), { services: { redis: { status: 'error', reason: 'timeout' } } })
})

const healthy = (app: App) =>
  until(
    async () => (await app.inject('/health')).json(),
    ({ status }) => status === 'healthy',
  )

async function redisStopped(t: Test, env: NodeJS.ProcessEnv = {}) {
  t.teardown(() => redis.restore())
  const app = await connected(await build(t, { REDIS_URL: redis.url, ...env }))
  await healthy(app)
  const closed = event(app.redis, 'close')
  await redis.stop()
  await closed
  return app
}

t.test('Redis stopped: degraded, and ready; healthy when it is back', async (t) => {
  const app = await redisStopped(t)
  const health = await app.inject('/health')
  t.equal(health.statusCode, 503)
  t.equal(health.headers['retry-after'], '1')
  t.match(health.json(), {
    status: 'degraded',
    services: { database: { status: 'ok' }, redis: { status: 'error', latencyMs: null, reason: 'refused' } },
  })
  const ready = await app.inject('/health/ready')
  t.equal(ready.statusCode, 200)
  t.same(ready.json(), { status: 'ready', checks: { database: 'passed', migrations: 'passed', redis: 'failed' } })

  await redis.start()
  await healthy(app)
})

t.test('READINESS_REQUIRES=database,redis: Redis stopped is not ready', async (t) => {
  const app = await redisStopped(t, { READINESS_REQUIRES: 'database,redis' })
  t.equal((await app.inject('/health/ready')).statusCode, 503)
  t.equal((await app.inject('/health')).json().status, 'unhealthy')
})

t.test('a wrong password is degraded, and in no output', async (t) => {
  const { href: REDIS_URL } = Object.assign(new URL(redis.url), { password: 'hunter2' })
  const service = new Service(t, { DATABASE_URL: await sharedDatabase(), REDIS_URL, LOG_LEVEL: 'trace' })
  const url = await service.url()
  await service.logged('ready')
  await service.logged('redis failed')
  const health = await fetch(`${url}/health`)
  t.match(await health.json(), { status: 'degraded', services: { redis: { reason: 'auth' } } })
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.notMatch(service.output, /hunter2/)
})

const kill = (app: App) => app.redis.client('ID').then((id) => command(app, 'CLIENT', 'KILL', 'ID', id, 'SKIPME', 'no'))
const command = (app: App, ...[name, ...args]: [string, ...(string | number)[]]) =>
  app.redis.call(name, args).catch(() => {})

t.test('a user, a password and a server that are rotated are used for the next connection', async (t) => {
  const [redis, other] = await Promise.all([startRedis({ password: 'first' }), startRedis({ password: 'hunter3' })])
  t.teardown(() => Promise.all([redis.close(), other.close()]))
  const directory = t.testdir({ url: redis.url })
  const app = await connected(await build(t, { REDIS_URL_FILE: `${directory}/url`, REDIS_URL: '' }))
  const reconnects = async (url: string) => {
    t.testdir({ url })
    const back = event(app.redis, 'ready')
    kill(app)
    await back
  }
  await command(app, 'ACL', 'SETUSER', 'two', 'on', '>hunter2', 'allcommands', 'allkeys')
  await command(app, 'CONFIG', 'SET', 'requirepass', 'second')
  await rm(`${directory}/url`)
  const missed = event(app.redis, 'reconnecting')
  kill(app)
  await missed
  const back = event(app.redis, 'ready')
  t.testdir({ url: Object.assign(new URL(redis.url), { username: 'two', password: 'hunter2' }).href })
  await back
  t.equal(await app.redis.call('ACL', 'WHOAMI'), 'two', 'also when the file was away for a moment')
  await reconnects(other.url)
  t.equal(app.redis.options.port, other.port)
  t.equal(await app.redis.call('ACL', 'WHOAMI'), 'default')
  await reconnects(`${other.url}/0`)
  t.notMatch(JSON.stringify(app.logs), /another database/, 'the one that it has')
  await reconnects(`${other.url}/1`)
  await reconnects(other.url.replace('redis:', 'http:'))
  t.same(
    new Set(app.logs.filter(({ msg }) => msg.startsWith('cannot use the new secret')).map(({ problem }) => problem)),
    new Set(['ENOENT', 'names another database: that takes a restart', 'is not a URL of a Redis']),
  )
  t.equal((await app.inject('/health')).statusCode, 200)
  t.notMatch(JSON.stringify(app.logs), /hunter/)
})

t.test('a connection that ioredis has given up is opened again', async (t) => {
  const app = await build(t)
  const ended = event(app.redis, 'end')
  app.redis.disconnect()
  await ended
  await connected(app)
  t.equal(await app.redis.ping(), 'PONG')
})

t.test('a replica that refuses a write is left for a new connection', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const app = await connected(await build(t, { REDIS_URL: redis.url }))
  await app.redis.replicaof('127.0.0.1', 1)
  const left = event(app.redis, 'reconnecting')
  await t.rejects(app.redis.set('key', 'value'), { message: /^READONLY/ })
  await left
})

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host:port' }, 'REDIS_URL is not a URL of a Redis'],
  ...['hunter2%zz', '12#hunter2', '12/hunter2', '12?hunter2'].map((password): [NodeJS.ProcessEnv, string] => [
    { DATABASE_URL, REDIS_URL: `redis://user:${password}@host` },
    `REDIS_URL ${MISREAD}`,
  ]),
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host/name' }, 'REDIS_URL is not a URL of a Redis'],
])

const ways = Object.fromEntries(parts.map(({ setting }) => [setting, 'one']))
const skip = parts.length < 2 && 'the service knows one way at most'

t.test('two ways to reach Redis at once are a contradiction', { skip }, async (t) => {
  t.match(await problems(t, { DATABASE_URL, ...ways }), [/^REDIS_\w+ and REDIS_\w+ are both set$/])
})
