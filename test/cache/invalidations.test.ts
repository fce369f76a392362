import t, { type Test } from 'tap'
import { connected } from '../support/app.ts'
import { until } from '../support/helper.ts'
import { command } from '../support/redis-command.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { lines, ownRedis, replica } from './replica.ts'

/** More than are owed one by one. */
const MANY = 10_001

type Replica = Awaited<ReturnType<typeof replica>>

const entries = ({ app }: Replica, count: number) =>
  until(
    () => app.redis.keys('*cache2:*'),
    (keys) => keys.length === count,
  )
const owes = ({ app }: Replica, count: number) =>
  until(
    () => app.cache.owed,
    (owed) => owed === count,
  )

/** A replica that loses its Redis behind a proxy, and one that does not. */
async function apart(t: Test) {
  const redis = await ownRedis(t)
  const proxy = await TcpProxy.start(t, redis.url)
  const [cut, other] = [await replica(t, proxy.url, {}, 1_000), await replica(t, redis.url)]
  const lose = async () => {
    proxy.swallow()
    await until(
      () =>
        cut.app.redis.ping().then(
          () => 'here',
          () => cut.app.redis.status,
        ),
      (status) => status !== 'here' && status !== 'ready',
    )
  }
  const find = async () => {
    proxy.heal()
    proxy.deaden()
    await connected(cut.app)
  }
  return { redis, cut, other, lose, find }
}

t.test(
  'what was invalidated while Redis was away is so for all as soon as it is back, and for oneself at once',
  async (t) => {
    const { cut, other, lose, find } = await apart(t)
    for (const id of ['a', 'b', 'c']) await cut.get(id)
    await entries(cut, 3)
    await lose()
    await cut.app.cache.invalidate('thing', ['thing:a'])
    await cut.app.cache.clear('thing', 'b')
    t.equal(cut.app.cache.owed, 2)
    cut.value = other.value = 'second'
    t.equal(await cut.get('a'), 'second')
    await find()
    await owes(cut, 0)
    for (const { get } of [cut, other])
      t.same(await Promise.all(['a', 'b', 'c'].map(get)), ['second', 'second', 'first'])
    t.match(
      lines(cut.app, 'cache works again').map(({ part }) => part),
      ['invalidate'],
    )
  },
)

t.test('more than can be owed are owed as one, which counts for every entry', async (t) => {
  const { cut, other, lose, find } = await apart(t)
  await cut.get('a')
  await entries(cut, 1)
  await lose()
  await Promise.all(Array.from({ length: MANY - 1 }, (_, n) => cut.invalidate(`thing:other-${n}`)))
  t.equal(cut.app.cache.owed, MANY - 1)
  for (let n = 0; n < 3; n++) await cut.invalidate(`thing:more-${n}`)
  t.equal(cut.app.cache.owed, 1)
  t.match(
    lines(cut.app).filter(({ err }) => /Too many/.test((err as Error).message)),
    [{ part: 'invalidate' }],
  )
  cut.value = other.value = 'second'
  await find()
  await owes(cut, 0)
  for (const { get } of [cut, other]) t.equal(await get('a'), 'second')
})

t.test('what is owed for more than an hour is owed as one', async (t) => {
  const { cut, other, lose, find } = await apart(t)
  await cut.get('a')
  await entries(cut, 1)
  await lose()
  const now = t.intercept(performance, 'now', { value: () => -3_600_000 })
  const old = cut.invalidate('thing:b')
  now.restore()
  await old
  await cut.invalidate('thing:c')
  t.equal(cut.app.cache.owed, 2)
  cut.value = other.value = 'second'
  await find()
  await owes(cut, 0)
  t.equal(await other.get('a'), 'second')
})

t.test('as many as can be owed are settled one by one', async (t) => {
  const { cut, other, lose, find } = await apart(t)
  for (const id of ['a', 'b']) await cut.get(id)
  await entries(cut, 2)
  await lose()
  await cut.invalidate(Array.from({ length: MANY - 2 }, (_, n) => `thing:other-${n}`))
  await cut.invalidate('thing:a')
  t.equal(cut.app.cache.owed, MANY - 1)
  cut.value = other.value = 'second'
  await find()
  await owes(cut, 0)
  t.same([await other.get('a'), await other.get('b')], ['second', 'first'])
})

t.test('a Redis that can be read and not written: believed at once, settled when it takes writes', async (t) => {
  const redis = await ownRedis(t)
  const [one, other] = [await replica(t, redis.url, {}, 1_000), await replica(t, redis.url)]
  await one.get('a')
  await one.get('b')
  await entries(one, 2)
  await command(redis, 'REPLICAOF', '127.0.0.1', '1')
  t.equal(await one.get('a'), 'first', 'served')
  await one.invalidate('thing:a')
  one.value = other.value = 'second'
  t.equal(one.app.cache.owed, 1)
  t.equal(await one.get('a'), 'second')
  t.match(
    lines(one.app).filter(({ part }) => part === 'invalidate'),
    [{ reason: 'readonly' }],
  )
  await command(redis, 'REPLICAOF', 'NO', 'ONE')
  await owes(one, 0)
  for (const { get } of [one, other]) t.same([await get('a'), await get('b')], ['second', 'first'])
})

t.test('Redis hung: an invalidation takes one command’s timeout at most, and is not lost', async (t) => {
  const redis = await ownRedis(t)
  const [one, other] = [await replica(t, redis.url, {}, 1_000), await replica(t, redis.url)]
  await one.get('a')
  await entries(one, 1)
  redis.pause()
  await one.invalidate('thing:a')
  t.equal(one.app.cache.owed, 1)
  redis.resume()
  one.value = other.value = 'second'
  await owes(one, 0)
  for (const { get } of [one, other]) t.equal(await get('a'), 'second')
})

t.test('a user who may read and not write: calls answer, and the log names both', async (t) => {
  const redis = await ownRedis(t)
  const one = await replica(t, redis.url)
  const { app } = one
  await one.get('a')
  await entries(one, 1)
  await command(redis, 'ACL', 'SETUSER', 'default', '-set', '-del')
  t.equal(await one.get('a'), 'first')
  t.equal(await one.get('b'), 'first')
  await one.invalidate('thing:a')
  one.value = 'second'
  t.equal(await one.get('a'), 'second')
  t.match(lines(app), [
    { part: 'write', reason: 'auth' },
    { part: 'invalidate', reason: 'auth' },
  ])
  await command(redis, 'ACL', 'SETUSER', 'default', '-mget')
  t.equal(await one.get('c'), 'second')
  t.match(lines(app).at(-1), { part: 'read', reason: 'auth' })
  await command(redis, 'ACL', 'SETUSER', 'default', '+@all')
  await owes(one, 0)
})

t.test('failures that alternate are logged once each, also those of one reason', async (t) => {
  const redis = await ownRedis(t)
  const one = await replica(t, redis.url)
  one.loading = async () => {}
  const { redis: client } = one.app
  for (let call = 0; call < 50; call++) {
    for (const [setting, value, usual] of [
      ['maxmemory', '1', '0'],
      ['min-replicas-to-write', '1', '0'],
    ] as const) {
      await client.config('SET', setting, value)
      await one.get(`${setting} ${call}`)
      await one.invalidate('thing:a')
      await client.config('SET', setting, usual)
    }
    t.equal(await one.get('a'), 'first')
  }
  t.match(
    lines(one.app)
      .map(({ part, reason, err }) => `${part} ${reason} ${(err as Error).message.split(' ')[0]}`)
      .sort(),
    ['invalidate readonly NOREPLICAS', 'write limit OOM', 'write readonly NOREPLICAS'],
  )
  t.equal(lines(one.app).length, 3)
  t.ok(lines(one.app, 'cache works again').length <= 3)
})
