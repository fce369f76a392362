import { rm } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import { MISREAD } from '../../src/core/config/urls.ts'
import { parts } from '../../src/redis/parts.ts'
import { accessOf } from '../../src/redis/url.ts'
import { type App, build, connected } from '../support/app.ts'
import { event, sharedDatabase, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { DATABASE_URL, eachIsOneProblem, problems } from '../support/settings.ts'

const VERIFIED = { rejectUnauthorized: true }

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

t.test('a Redis that takes no writes asks clients to come back', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.close())
  const app = await connected(
    await build(t, { REDIS_URL: redis.url }, async (fastify) => {
      fastify.get('/', () => fastify.redis.set('key', 'value'))
    }),
  )
  for (const [setting, value, reason] of [
    ['min-replicas-to-write', '1', 'readonly'],
    ['maxmemory', '1', 'limit'],
  ] as const) {
    await app.redis.config('SET', setting, value)
    t.match(await app.inject('/'), { statusCode: 503, headers: { 'retry-after': '1' } }, setting)
    t.match(app.logs.filter(({ msg }) => msg === 'backend unavailable').at(-1), { level: 40, reason })
    await app.redis.config('SET', setting, '0')
  }
})

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host:port' }, 'REDIS_URL is not a URL of a Redis'],
  ...['hunter2%zz', '12#hunter2', '12/hunter2', '12?hunter2'].map((password): [NodeJS.ProcessEnv, string] => [
    { DATABASE_URL, REDIS_URL: `redis://user:${password}@host` },
    `REDIS_URL ${MISREAD}`,
  ]),
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host/name' }, 'REDIS_URL is not a URL of a Redis'],
  ...['tls=true', 'lazyConnect=', 'host=other', 'path=/tmp/redis', 'SSLMODE=disable', 'Db=1'].map(
    (said): [NodeJS.ProcessEnv, string] => [
      { DATABASE_URL, REDIS_URL: `redis://:hunter2@host?${said}` },
      `REDIS_URL has the parameter ${said.split('=')[0]}, which is not one of username, password, db, family, sslmode`,
    ],
  ),
  ...['db=name', 'family=5', 'sslmode=require', 'sslmode=', 'password='].map((said): [NodeJS.ProcessEnv, string] => [
    { DATABASE_URL, REDIS_URL: `redis://:hunter2@host?${said}` },
    `REDIS_URL has ${said.split('=')[0]}, which cannot be that`,
  ]),
  [
    { DATABASE_URL, REDIS_URL: 'rediss://:hunter2@host?sslmode=disable' },
    'REDIS_URL has sslmode=disable, and asks for TLS (rediss:)',
  ],
])

t.test('what a URL says is what ioredis uses, and nothing else', async (t) => {
  const nobody = { username: undefined, password: undefined }
  for (const [url, access] of [
    ['redis://host', { host: 'host', port: 6379, ...nobody, db: 0, family: 0, tls: undefined }],
    [
      'REDISS://me:a%2Fb@[::1]:7000/3',
      { host: '::1', port: 7000, username: 'me', password: 'a/b', db: 3, tls: VERIFIED },
    ],
    ['rediss://host?username=me&password=a%26b&db=2&family=6', { username: 'me', password: 'a&b', db: 2, family: 6 }],
    ['redis://me:first@host/1?username=you&password=second&db=2', { username: 'me', password: 'first', db: 1 }],
    ['redis://host?sslmode=disable', { tls: undefined, ...nobody }],
  ] as const)
    t.match(accessOf(url), access)
})

t.test('user and password may stand in parameters, also for the next connection', async (t) => {
  const redis = await startRedis({ password: 'hunter2' })
  t.teardown(() => redis.close())
  const { host } = new URL(redis.url)
  const app = await connected(await build(t, { REDIS_URL: `redis://${host}?password=hunter2` }))
  const back = event(app.redis, 'ready')
  kill(app)
  await back
  t.equal(await app.redis.ping(), 'PONG')
})

t.test('a Redis elsewhere in clear text is said once, and is silenced where that is meant', async (t) => {
  const told = async (url: string) =>
    (await build(t, { REDIS_URL: url })).logs.filter(({ msg }) => msg.startsWith('Redis is on another host'))
  t.match(await told('redis://:hunter2@192.0.2.1'), [{ level: 40, setting: 'REDIS_URL' }])
  t.notMatch(JSON.stringify(await told('redis://:hunter2@192.0.2.1')), /hunter2/)
  t.same(await told('redis://192.0.2.1?sslmode=disable'), [])
  t.same(await told('rediss://192.0.2.1'), [])
})

const ways = Object.fromEntries(parts.map(({ setting }) => [setting, 'one']))
const skip = parts.length < 2 && 'the service knows one way at most'

t.test('two ways to reach Redis at once are a contradiction', { skip }, async (t) => {
  t.match(await problems(t, { DATABASE_URL, ...ways }), [/^REDIS_\w+ and REDIS_\w+ are both set$/])
})
