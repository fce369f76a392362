import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { service } from '../../src/core/service.ts'
import { connected } from '../support/app.ts'
import { until } from '../support/helper.ts'
import { gate, lines, ownRedis, PATIENT_MS, replica, timed } from './replica.ts'

const { name: NAME } = service

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
  const { app, get } = await replica(t, (await ownRedis(t)).url, { stale: 10 })
  await get('a')
  const keys = await until(
    async () => (await app.redis.keys('*')).sort(),
    ({ length }) => length === 5,
  )
  const version = `${NAME}:cache2-version:`
  const own = [`${NAME}:cache2:thing:a`, `${NAME}:cache2-fresh:thing:a`]
  t.same(keys, [...own, `${version}all`, `${version}name:thing`, `${version}reference:thing:a`].sort())
  const [entry, fresh, ...versions] = await Promise.all(
    [...own, ...keys.filter((key) => key.startsWith(version))].map((key) => app.redis.ttl(key)),
  )
  t.ok((entry as number) > (fresh as number) && (fresh as number) > 50)
  for (const life of versions) t.ok(life > (entry as number), 'a version outlives what was loaded under it')
})

t.test('an entry ends with its time to live', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 1 })
  await one.get('a')
  one.value = 'second'
  await until(
    () => one.get('a'),
    (answer) => answer === 'second',
  )
  t.equal(one.loads, 2)
})

t.test('a version lives as long as the longest entry', async (t) => {
  const day = 86_400
  const one = await replica(t, (await ownRedis(t)).url, { ttl: day, stale: day })
  await one.get('a')
  const ttl = await until(
    () => one.app.redis.ttl(`${NAME}:cache2-version:reference:thing:a`),
    (ttl) => ttl > 1_000,
  )
  t.ok(ttl > 2 * day)
  await one.invalidate('thing:other')
  const life = await one.app.redis.ttl(`${NAME}:cache2-version:reference:thing:other`)
  t.ok(life > 500 && life < 1_000, 'and that of an invalidation alone a few minutes: they can be many')
})

t.test('a process that has only stored what lives shortly leaves the versions their long life', async (t) => {
  const { url } = await ownRedis(t)
  const options = { ttl: 86_400 }
  const [old, young] = [await replica(t, url, options), await replica(t, url, options)]
  await old.get('a')
  const { redis } = old.app
  const isStored = (key: string) =>
    until(
      () => redis.exists(`${NAME}:cache2:${key}`),
      (exists) => exists === 1,
    )
  await isStored('thing:a')
  const brief = young.app.cache.define('brief', { ttl: 60 }, (id: string) => id)
  await brief.brief('a')
  await isStored('brief:a')
  await young.app.redis.ping() // behind all that was written with it
  t.ok((await redis.ttl(`${NAME}:cache2-version:all`)) > 86_400)
})

t.test('a time without end is a year, and no other entry suffers from it', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: () => Number.MAX_VALUE, stale: Number.MAX_SAFE_INTEGER })
  await one.get('a')
  const life = await until(
    () => one.app.redis.ttl(`${NAME}:cache2:thing:a`),
    (ttl) => ttl > 0,
  )
  const year = 365 * 86_400
  t.ok(life > year && life <= 2 * year)
  t.same(lines(one.app), [])
})

t.test('a stale answer comes at once, while one load of all replicas replaces it', async (t) => {
  const { url } = await ownRedis(t)
  const options = { ttl: 600, stale: 600 }
  const [one, two] = [await replica(t, url, options), await replica(t, url, options)]
  await one.get('a')
  one.value = two.value = 'second'
  t.equal(await one.get('a'), 'first')
  t.equal(one.loads, 1, 'fresh')
  const { redis } = one.app
  await until(
    () => redis.exists(`${NAME}:cache2-fresh:thing:a`),
    (exists) => exists === 1,
  )
  await redis.del(`${NAME}:cache2-fresh:thing:a`) // as if its time had passed
  const { loading, open, begun } = gate()
  one.loading = two.loading = loading
  t.same(await Promise.all([one, one, two, two].map(({ get }) => get('a'))), Array(4).fill('first'))
  await begun
  t.equal(await two.get('a'), 'first')
  open()
  await until(
    () => two.get('a'),
    (answer) => answer === 'second',
  )
  t.equal(one.loads + two.loads, 2)
  t.equal(await redis.exists(`${NAME}:cache2-fresh:thing:a`), 1, 'which is fresh')
})

t.test('a load that fails while the old value answers is logged once, and tried again later', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 600, stale: 600 })
  await one.get('a')
  await one.get('b')
  const { redis } = one.app
  one.loading = () => Promise.reject(new Error('of the loader'))
  for (const id of ['a', 'b']) {
    await until(
      () => redis.del(`${NAME}:cache2-fresh:thing:${id}`),
      (deleted) => deleted === 1,
    )
    t.equal(await one.get(id), 'first')
    await until(
      () => redis.pttl(`${NAME}:cache2-fresh:thing:${id}`),
      (ttl) => ttl > 0,
    )
  }
  await until(
    () => one.loads,
    (loads) => loads === 4,
  )
  t.ok((await redis.pttl(`${NAME}:cache2-fresh:thing:a`)) <= 10_000)
  t.equal(await one.get('a'), 'first')
  t.equal(one.loads, 4, 'not at once')
  await until(
    () => lines(one.app).length,
    (count) => count > 0,
  )
  t.match(lines(one.app), [{ part: 'refresh', cache: 'thing', err: { message: 'of the loader' } }])
  t.equal(lines(one.app).length, 1)
})

t.test('whatever a load throws, the old value answers and the process lives', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 600, stale: 600 })
  await one.get('a')
  await until(
    () => one.app.redis.del(`${NAME}:cache2-fresh:thing:a`),
    (deleted) => deleted === 1,
  )
  one.loading = () => Promise.reject(Object.create(null))
  t.equal(await one.get('a'), 'first')
  await until(
    () => lines(one.app).length,
    (count) => count > 0,
  )
  t.match(lines(one.app), [{ part: 'refresh', err: { message: 'an object without a message' } }])
})

t.test('one entry, all of a name, or all can be cleared', async (t) => {
  const { url } = await ownRedis(t)
  const one = await replica(t, url)
  const two = await replica(t, url)
  const ask = async (...ids: unknown[]) => {
    const before = one.loads + two.loads
    for (const id of ids) await one.get(id)
    for (const id of ids) await two.get(id)
    return one.loads + two.loads - before
  }
  const stored = () =>
    until(
      () => one.app.redis.keys('*cache2:*'),
      (keys) => keys.length === 3,
    )
  const ids = ['a', 0, false]
  t.equal(await ask(...ids), 3)
  await stored()
  t.equal(await ask(...ids), 0)
  for (const id of ids) {
    await two.app.cache.clear('thing', id)
    await until(
      () => ask(...ids),
      (loads) => loads === 0,
    )
    t.equal(one.loads + two.loads, 4 + ids.indexOf(id), 'one more')
    await stored()
  }
  await two.app.cache.clear('thing')
  t.equal(await one.get('a'), 'first')
  t.equal(one.loads + two.loads, 7)
  await stored()
  await until(
    () => ask(...ids),
    (loads) => loads === 0,
  )
  const before = one.loads
  await two.app.cache.clear()
  await one.get('a')
  t.equal(one.loads, before + 1)
  for (const what of ['clear', 'invalidate'] as const) {
    await t.rejects(one.app.cache[what]('unknown', 'a'), /unknown is not defined in the cache/)
  }
})

t.test('an error of the load is the caller’s, and is not cached', async (t) => {
  const { app } = await replica(t, (await ownRedis(t)).url)
  let fails = true
  const told: unknown[] = []
  const cache = app.cache.define(
    'failing',
    { ttl: 60, onError: (err) => told.push(String(err)) },
    async (_: string) => {
      if (fails) throw new Error('of the loader')
      return 'well'
    },
  )
  await t.rejects(cache.failing('a'), /of the loader/)
  t.same(told, ['Error: of the loader'])
  fails = false
  t.equal(await cache.failing('a'), 'well')
})

t.test('without a time to live nothing is stored, and concurrent callers share one load', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url, { ttl: 0 })
  one.value = { some: 'thing' }
  const [first, second] = await Promise.all([one.get('a'), one.get('a')])
  t.equal(first, second)
  t.equal(one.loads, 1)
  await one.get('a')
  t.equal(one.loads, 2)
  const cache = one.app.cache.define('deduped', () => 'at once')
  t.equal(await cache.deduped(), 'at once')
  t.same(await one.app.redis.keys('*'), [])
})

t.test('a listener that throws is logged, and the call answers', async (t) => {
  const fails = () => {
    throw new Error('of the listener')
  }
  const listeners = { onHit: fails, onMiss: fails, onDedupe: fails, onError: fails }
  const one = await replica(t, (await ownRedis(t)).url, listeners)
  t.same(await Promise.all([one.get('a'), one.get('a')]), ['first', 'first'])
  t.equal(await one.get('a'), 'first')
  one.loading = () => Promise.reject(new Error('of the loader'))
  await t.rejects(one.get('b'), /of the loader/)
  t.match(lines(one.app), [{ part: 'listener', cache: 'thing', err: { message: 'of the listener' } }])
  t.equal(lines(one.app).length, 1)
  t.same([...one.app.cache.failures.keys()], ['listener'])
})

t.test('what define cannot use is refused', async (t) => {
  const { app } = await replica(t, (await ownRedis(t)).url)
  const refused = (options: object, message: RegExp, name = 'other') =>
    t.throws(() => app.cache.define(name, options as never, () => 1), message)
  refused({ ttl: -1 }, /ttl must be a number of seconds/)
  refused({ stale: Number.POSITIVE_INFINITY }, /stale must be a number/)
  refused({ references: ['a'] }, /references must be a function/)
  refused({ references: (_a: unknown, _key: unknown, result: unknown) => result }, /references cannot know the value/)
  refused({ storage: {} }, /storage is no option/)
  refused({}, /already defined/, 'thing')
  refused({}, /already defined/, 'clear')
  t.throws(() => app.cache.define('other', { ttl: 1 }, undefined as never), /Missing the function/)
})

t.test('Redis stopped: every call loads at once, one warning; restarted: it caches again, and says so', async (t) => {
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
  t.equal(lines(one.app).length, 1)
  await redis.start()
  await connected(one.app)
  await one.get('a')
  t.equal(one.loads, 12)
  await one.get('a')
  t.equal(one.loads, 12)
  t.match(lines(one.app, 'cache works again'), [{ part: 'read' }])
})

t.test('Redis hung: every call answers within its load’s time and one command’s timeout', async (t) => {
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
  t.equal(one.loads, 4, 'the two of the same key share one')
  redis.resume()
})

t.test('Redis full: calls load, what is cached is served, and can be invalidated', async (t) => {
  const { url } = await ownRedis(t)
  const one = await replica(t, url, { stale: 60 })
  const two = await replica(t, url)
  await one.get('a')
  await until(
    () => one.app.redis.exists(`${NAME}:cache2-fresh:thing:a`),
    (exists) => exists === 1,
  )
  await one.app.redis.config('SET', 'maxmemory', '1')
  await t.rejects(one.app.redis.set('key', 'value'), /OOM/)
  one.value = two.value = 'second'
  await one.app.redis.del(`${NAME}:cache2-fresh:thing:a`)
  t.equal(await one.get('a'), 'first', 'also what is stale: what replaced it could not be kept')
  t.equal(await one.get('b'), 'second')
  t.equal(await one.get('b'), 'second')
  t.equal(one.loads, 3)
  t.match(lines(one.app), [{ part: 'write', err: { message: /OOM/ } }])
  await one.invalidate('thing:a')
  t.equal(one.app.cache.owed, 0)
  t.equal(await one.get('a'), 'second')
  t.equal(await two.get('a'), 'second')
})

t.test('keys of the wrong type, or with nothing readable: calls load', async (t) => {
  const one = await replica(t, (await ownRedis(t)).url)
  const { redis } = one.app
  await one.get('a')
  const written = (id: string) =>
    until(
      () => redis.getBuffer(`${NAME}:cache2:thing:${id}`),
      (found) => found !== null,
    ) as Promise<Buffer>
  const entry = await written('a')
  await redis.del(`${NAME}:cache2:thing:a`)
  await redis.lpush(`${NAME}:cache2:thing:a`, 'x')
  t.equal(await one.get('a'), 'first', 'a list')
  t.equal(one.loads, 2)
  await written('a')
  await redis.lpush(`${NAME}:cache2-version:reference:thing:b`, 'x')
  for (const loads of [3, 4]) {
    t.equal(await one.get('b'), 'first')
    t.equal(one.loads, loads, 'nothing is stored without its version')
  }
  const versions = 3 * 16
  for (const unreadable of [
    Buffer.alloc(0),
    Buffer.from('text'),
    Buffer.concat([Buffer.from([99]), entry.subarray(1)]), // another format
    Buffer.concat([entry.subarray(0, 3 + versions - 16), entry.subarray(3 + versions)]), // fewer versions
  ]) {
    const { loads } = one
    await redis.set(`${NAME}:cache2:thing:a`, unreadable)
    t.equal(await one.get('a'), 'first')
    t.equal(one.loads, loads + 1)
    await written('a')
  }
  t.same(lines(one.app), [])
  const { loads } = one
  await redis.set(`${NAME}:cache2:thing:a`, Buffer.concat([entry.subarray(0, 3 + versions), Buffer.from([255, 99])]))
  t.equal(await one.get('a'), 'first', 'of a newer Node.js')
  t.equal(one.loads, loads + 1)
  t.match(lines(one.app), [{ part: 'value', err: { message: /deserialize/ } }])
})
