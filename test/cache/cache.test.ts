import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import { service } from '../../src/core/service.ts'
import { type App, build, connected } from '../support/app.ts'
import { until, within } from '../support/helper.ts'

const { name: NAME } = service
/** No command takes this long, on a machine however busy: whoever waits for one that is not answered waits longer. */
const PATIENT_MS = 20_000

/** A replica with a cached function that counts its loads, whose answer is `value` after 20 ms. */
async function replica(
  t: Test,
  REDIS_URL: string,
  options: { ttl?: number; stale?: number } = {},
  timeoutMs = PATIENT_MS,
) {
  const env = { REDIS_URL, REDIS_COMMAND_TIMEOUT_MS: String(timeoutMs), MIGRATIONS: 'off' }
  const app = await connected(await build(t, env))
  const state = {
    app,
    loads: 0,
    value: 'first' as unknown,
    loading: () => sleep(20),
    get: async (_id: string): Promise<unknown> => undefined,
  }
  const references = (id: string) => [`thing:${id}`]
  app.cache.define('thing', { ttl: 60, references, ...options }, async (_id: string) => {
    state.loads++
    await state.loading()
    return state.value
  })
  state.get = (id) => (app.cache as unknown as { thing: typeof state.get }).thing(id)
  return state
}

async function ownRedis(t: Test) {
  const redis = await startRedis()
  t.teardown(() => redis.close())
  return redis
}

/** What one call answers, and after how many milliseconds. */
async function timed(get: (id: string) => Promise<unknown>, id = 'a') {
  const started = performance.now()
  return { answer: await within(get(id), () => id), ms: performance.now() - started }
}

/** Lets the entry's fresh time pass. */
async function age({ redis }: App, seconds: number) {
  const key = `${NAME}:cache:thing~a`
  const entry = JSON.parse((await redis.get(key)) as string)
  await redis.set(key, JSON.stringify({ ...entry, until: entry.until - seconds * 1_000 }), 'KEEPTTL')
}

const warnings = ({ logs }: App) => logs.filter(({ msg }) => msg === 'cache failed')

t.test('a hundred concurrent callers cost one load, and the next caller none', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url)
  const answers = await Promise.all(Array.from({ length: 100 }, () => one.get('a')))
  t.same(new Set(answers), new Set(['first']))
  t.equal(await one.get('a'), 'first')
  t.equal(one.loads, 1)
  t.equal(await one.get('b'), 'first')
  t.equal(one.loads, 2, 'another key is another load')
})

t.test('keys carry the prefix, and every one of them expires', async (t) => {
  const { app, get } = await replica(t, (await ownRedis(t)).url)
  await get('a')
  t.same((await app.redis.keys('*')).sort(), [`${NAME}:cache-index:thing:a`, `${NAME}:cache:thing~a`])
  const [index, entry] = [`${NAME}:cache-index:thing:a`, `${NAME}:cache:thing~a`].map((key) => app.redis.ttl(key))
  t.ok(((await entry) as number) > 50)
  t.ok(((await index) as number) > ((await entry) as number), 'an index outlives what is entered in it')
})

t.test('an entry ends with its time to live', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 1 })
  await one.get('a')
  await sleep(1_100)
  one.value = 'second'
  t.equal(await one.get('a'), 'second')
})

t.test('a stale answer comes at once, while one load replaces it', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 600, stale: 600 })
  await one.get('a')
  one.value = 'second'
  t.equal(await one.get('a'), 'first')
  t.equal(one.loads, 1, 'fresh')
  await age(one.app, 601)
  const { promise, resolve } = Promise.withResolvers<void>()
  one.loading = () => promise
  t.same(await Promise.all([one.get('a'), one.get('a'), one.get('a')]), ['first', 'first', 'first'])
  t.equal(await one.get('a'), 'first')
  resolve()
  await until(
    () => one.app.redis.get(`${NAME}:cache:thing~a`),
    (entry) => String(entry).includes('second'),
  )
  t.equal(await one.get('a'), 'second')
  t.equal(one.loads, 2)
})

t.test('an invalidation on one replica is one on all, and of that reference alone', async (t) => {
  const { url } = await ownRedis(t)
  const one = await replica(t, url)
  const two = await replica(t, url)
  await one.get('a')
  await one.get('b')
  t.equal(await two.get('a'), 'first')
  t.equal(two.loads, 0, 'what one replica loaded serves both')
  two.value = 'second'
  await one.app.cache.invalidate('thing', ['thing:a'])
  t.equal(await two.get('a'), 'second')
  t.equal(await two.get('b'), 'first')
})

t.test('one entry, or all of a name, can be cleared', async (t) => {
  const { app, get } = await replica(t, (await ownRedis(t)).url)
  await get('a')
  await get('b')
  await app.cache.clear('thing', 'a')
  t.same([await app.cache.exists('thing', 'thing~a'), await app.cache.exists('thing', 'thing~b')], [false, true])
  await app.cache.clear('thing')
  t.equal(await app.cache.exists('thing', 'thing~b'), false)
})

t.test('an error of the loader is the caller’s, and is not cached', async (t) => {
  const { app } = await replica(t, (await ownRedis(t)).url)
  let fails = true
  const cache = app.cache.define('failing', { ttl: 60 }, async (_: string) => {
    if (fails) throw new Error('of the loader')
    return 'well'
  })
  await t.rejects(cache.failing('a'), /of the loader/)
  fails = false
  t.equal(await cache.failing('a'), 'well')
})

t.test('Redis stopped: every call loads at once, one warning; restarted: it caches again', async (t) => {
  const redis = await ownRedis(t)
  const one = await replica(t, redis.url)
  await one.get('a')
  await redis.stop()
  for (let call = 0; call < 10; call++) {
    const { answer, ms } = await timed(one.get)
    t.equal(answer, 'first')
    t.ok(ms < PATIENT_MS, 'which waits for no command')
  }
  t.equal(one.loads, 11)
  t.equal(warnings(one.app).length, 1)
  await redis.start()
  await connected(one.app)
  await one.get('a')
  t.equal(one.loads, 12)
  await one.get('a')
  t.equal(one.loads, 12)
})

t.test('Redis hung: every call answers within its loader’s time and one command’s timeout', async (t) => {
  const redis = await ownRedis(t)
  const timeoutMs = 1_000
  const one = await replica(t, redis.url, { stale: 30 }, timeoutMs)
  await one.get('a')
  redis.pause()
  // A second command would be a second timeout.
  const timeout = timed(() => sleep(timeoutMs))
  const calls = await Promise.all(['a', 'a', 'b', 'c'].map((id) => timed(one.get, id)))
  for (const { answer, ms } of calls) {
    t.equal(answer, 'first')
    t.ok(ms < (await timeout).ms + timeoutMs, `${Math.round(ms)} ms`)
  }
  redis.resume()
})

t.test('what could not be invalidated while Redis was away is so as soon as it is back', async (t) => {
  const redis = await ownRedis(t)
  const { url } = redis
  const one = await replica(t, url)
  const { app } = await replica(t, url)
  await one.get('a')
  // The replica loses its connection while Redis keeps what it has.
  app.redis.disconnect(true)
  await app.cache.invalidate('thing', 'thing:a')
  await until(
    () => app.redis.exists(`${NAME}:cache:thing~a`).catch(() => 'away'),
    (exists) => exists === 0,
  )
  one.value = 'second'
  t.equal(await one.get('a'), 'second')
})

t.test('Redis full: calls load, what is cached is served, and can be invalidated', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url)
  await one.get('a')
  await one.app.redis.config('SET', 'maxmemory', '1mb', 'maxmemory-policy', 'noeviction')
  await t.rejects(one.app.redis.set('key', 'value'), /OOM/)
  one.value = 'second'
  t.equal(await one.get('a'), 'first')
  t.equal(await one.get('b'), 'second')
  t.equal(await one.get('b'), 'second')
  t.equal(one.loads, 3)
  t.match(warnings(one.app), [{ err: { message: /EXECABORT|OOM/ } }])
  await one.app.cache.invalidate('thing', 'thing:a')
  t.equal(await one.get('a'), 'second')
})

t.test('keys of the wrong type: calls load, and nothing is stored that no invalidation would find', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url)
  const { redis } = one.app
  await redis.lpush(`${NAME}:cache:thing~list`, 'x')
  await redis.set(`${NAME}:cache:thing~text`, 'not JSON')
  await redis.set(`${NAME}:cache-index:thing:index`, 'x')
  for (const id of ['list', 'text', 'index']) t.equal(await one.get(id), 'first')
  t.equal(one.loads, 3)
  await until(
    () => redis.exists(`${NAME}:cache:thing~index`),
    (exists) => exists === 0,
  )
  await one.get('list')
  t.equal(one.loads, 3, 'an entry is written over')
})

t.test('values that JSON cannot hold, or that are empty, answer all the same', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url)
  for (const value of [10n, undefined, null, 0, '', false]) {
    one.value = value
    t.equal(await one.get(typeof value), value)
    t.equal(await one.get(typeof value), value)
  }
})
