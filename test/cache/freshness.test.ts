import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { service } from '../../src/core/service.ts'
import { until, within } from '../support/helper.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { gate, type Options, ownRedis, replica } from './replica.ts'

const VERSION = `${service.name}:cache2-version:reference:thing:a`
const ENTRY = `${service.name}:cache2:thing:a`
const READS = 4_000
const IDS = ['a', 'b', 'c', 'd']

type Replica = Awaited<ReturnType<typeof replica>>

/** Two replicas and the Redis that they share. */
async function two(t: Test, options: Options = {}) {
  const redis = await ownRedis(t)
  const [one, other] = [await replica(t, redis.url, options), await replica(t, redis.url, options)] as const
  return { redis, one, other, both: [one, other] }
}

const stored = ({ app }: Replica) =>
  until(
    () => app.redis.getBuffer(ENTRY),
    (entry) => entry !== null,
  ) as Promise<Buffer>

t.test('no call answers what was loaded before an invalidation that had finished', async (t) => {
  const { both } = await two(t)
  const database = new Map(IDS.map((id) => [id, 0]))
  const finished = new Map(IDS.map((id) => [id, 0]))
  for (const { app } of both) {
    app.cache.define('row', { ttl: 60, references: (id: string) => [`row:${id}`, 'rows'] }, async (id: string) => {
      const value = database.get(id) as number
      await sleep(randomInt(10))
      return value
    })
  }
  const row = (id: string) =>
    (both[randomInt(2)] as unknown as { app: { cache: { row(id: string): Promise<number> } } }).app.cache.row(id)
  let [reads, stale, hits] = [0, 0, 0]
  const read = async () => {
    while (reads++ < READS) {
      const id = IDS[randomInt(IDS.length)] as string
      const known = finished.get(id) as number
      const value = await row(id)
      if (value < known) stale++
    }
  }
  const write = async (n: number) => {
    while (reads < READS) {
      await sleep(randomInt(60))
      const id = IDS[n] as string
      const value = (database.get(id) as number) + 1
      database.set(id, value)
      await both[randomInt(2)]?.app.cache.invalidateAll(randomInt(4) > 0 ? `row:${id}` : 'rows')
      finished.set(id, value)
    }
  }
  await within(Promise.all([...Array.from({ length: 20 }, read), ...IDS.map((_, n) => write(n))]), () => reads)
  for (const { app } of both) hits += app.cache.lookups.get('row')?.hit ?? 0
  t.equal(stale, 0, `${reads} reads, ${hits} hits, ${Math.max(...database.values())} invalidations of a key`)
  t.ok(hits > 0)
})

for (const [name, prepare] of Object.entries({
  'with an entry of before': async ({ one }: { one: Replica }) => {
    await one.get('a')
    await stored(one)
    await one.app.redis.del(ENTRY)
  },
  'the first one': async () => {},
})) {
  t.test(`a load that is under way during an invalidation is neither joined nor kept, ${name}`, async (t) => {
    const isJoined = Promise.withResolvers<unknown>()
    const all = await two(t, { onDedupe: isJoined.resolve })
    const { one, other, both } = all
    await prepare(all)
    const { loading, begun, open } = gate()
    one.loading = loading
    const before = one.get('a')
    await begun
    const joined = one.get('a')
    await isJoined.promise
    one.loading = async () => {}
    one.value = other.value = 'second'
    await other.invalidate('thing:a')
    t.equal(await within(one.get('a'), () => 'joined'), 'second', 'while that load is still under way')
    open()
    t.same([await before, await joined], ['first', 'first'])
    for (const { get } of both) t.equal(await get('a'), 'second')
    // Whatever it has written is there by now.
    await one.app.redis.ping()
    for (const { get } of both) t.equal(await get('a'), 'second')
  })
}

t.test('the end of an old load leaves a newer one alone', async (t) => {
  const isJoined = Promise.withResolvers<unknown>()
  const { redis, one } = await two(t, { onDedupe: isJoined.resolve })
  await redis.stop() // without tokens, both have one name
  const [old, young] = [gate(), gate()]
  one.loading = old.loading
  const first = one.get('a')
  await old.begun
  await one.invalidate('thing:a')
  one.loading = young.loading
  const second = one.get('a')
  await young.begun
  old.open()
  await first
  const third = one.get('a')
  await within(isJoined.promise, () => 'not joined')
  young.open()
  await Promise.all([second, third])
  t.equal(one.loads, 2)
})

t.test('a version that is placed late does not undo an invalidation that came first', async (t) => {
  const redis = await ownRedis(t)
  const proxy = await TcpProxy.start(t, redis.url)
  const [one, other] = [await replica(t, proxy.url), await replica(t, redis.url)]
  const { loading, begun, open } = gate()
  one.loading = loading
  proxy.hold('NX')
  const before = one.get('a')
  await begun
  await other.invalidate('thing:a')
  proxy.release()
  open()
  t.equal(await before, 'first')
  await one.app.redis.ping()
  one.value = other.value = 'second'
  for (const { get } of [one, other]) t.equal(await get('a'), 'second')
})

t.test('while Redis is away, an invalidation drops the loads that it concerns, and no others', async (t) => {
  const { redis, one } = await two(t)
  await redis.stop()
  const { loading, begun, open } = gate()
  one.loading = loading
  const before = [one.get('a'), one.get('b')]
  await begun
  await one.invalidate('thing:a')
  one.value = 'second'
  const after = [one.get('a'), one.get('a'), one.get('b')]
  open()
  t.same(await Promise.all([...before, ...after]), ['first', 'first', 'second', 'second', 'first'])
  t.equal(one.loads, 3)
})

t.test('an entry whose version was evicted is unread, and never valid again', async (t) => {
  const { one, other, both } = await two(t)
  await one.get('a')
  const entry = await stored(one)
  const { redis } = one.app
  await redis.del(VERSION)
  one.value = other.value = 'second'
  t.equal(await other.get('a'), 'second')
  await redis.set(ENTRY, entry)
  for (const { get } of both) t.equal(await get('a'), 'second')
  await redis.flushall()
  await redis.set(ENTRY, entry)
  t.equal(await one.get('a'), 'second')
})

t.test('of two first loads on two replicas the one is kept whose versions were there first', async (t) => {
  const { one, other, both } = await two(t)
  const gates = both.map(gate)
  for (const [n, { loading }] of gates.entries()) (both[n] as Replica).loading = loading
  // Neither reads what the other places: the connections answer after both have asked.
  await one.app.redis.client('PAUSE', 100)
  other.value = 'second'
  const answers = Promise.all(both.map(({ get }) => get('a')))
  await Promise.all(gates.map(({ begun }) => begun))
  for (const { open } of gates) open()
  t.same(await answers, ['first', 'second'])
  await stored(one)
  const kept = await one.get('a')
  t.match(kept, /first|second/)
  t.equal(await other.get('a'), kept)
})
