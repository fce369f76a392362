import t, { type Test } from 'tap'
import { service } from '../../src/core/service.ts'
import { until } from '../support/helper.ts'
import { lines, ownRedis, replica } from './replica.ts'

const { name: NAME } = service
const { url } = await ownRedis(t)

class Point {
  x: number
  constructor(x: number) {
    this.x = x
  }
  double(): number {
    return this.x * 2
  }
}

/** A replica of a Redis that others use too. */
const own = async (t: Test, options: { ttl?: unknown } = {}) => {
  const one = await replica(t, url, options)
  await one.app.redis.flushall()
  return one
}

const stored = (one: Awaited<ReturnType<typeof own>>, count: number) =>
  until(
    () => one.app.redis.keys('*cache2:*'),
    (keys) => keys.length === count,
  )

/** As `npm run types` names what a column of JSON holds. */
type Json = string | number | boolean | null | Json[] | { [name: string]: Json }

const cyclic: { self?: unknown } = {}
cyclic.self = cyclic

const VALUES = {
  date: new Date(0),
  map: new Map([['a', new Date(1)]]),
  set: new Set([1]),
  buffer: Buffer.from('text'),
  floats: new Float64Array([1.5]),
  nan: Number.NaN,
  infinity: Number.NEGATIVE_INFINITY,
  'negative zero': -0,
  bigint: 10n,
  regexp: /a/g,
  error: new RangeError('far'),
  cyclic,
  nested: { at: new Date(2), list: [undefined, null], '__proto__-like': { constructor: 1 } },
  undefined: undefined,
  null: null,
  zero: 0,
  empty: '',
  false: false,
}

t.test('a value is the same on a miss and on a hit', async (t) => {
  const one = await own(t)
  for (const [name, value] of Object.entries(VALUES)) {
    const { loads } = one
    one.value = value
    const [miss, joined] = await Promise.all([one.get(name), one.get(name)])
    await stored(one, Object.keys(VALUES).indexOf(name) + 1)
    const hit = await one.get(name)
    t.strictSame([miss, joined, hit], [value, value, value], name)
    t.equal(Object.is(hit, -0), Object.is(value, -0))
    t.equal(one.loads, loads + 1, 'one load, and one hit')
  }
  t.same(lines(one.app), [])
})

t.test('each caller has a value of its own', async (t) => {
  const one = await own(t)
  one.value = { list: [1] }
  const [first, second] = (await Promise.all([one.get('a'), one.get('a')])) as { list: number[] }[]
  first?.list.push(2)
  t.same([second, one.value], [{ list: [1] }, { list: [1] }])
})

t.test('each caller has the bytes of a Buffer or a typed array of its own, and no others', async (t) => {
  const one = await own(t)
  one.value = { text: Buffer.from('text'), floats: new Float64Array([1.5]), view: new DataView(new ArrayBuffer(3)) }
  type Value = { text: Buffer; floats: Float64Array; view: DataView }
  const [first, second] = (await Promise.all([one.get('a'), one.get('a')])) as [Value, Value]
  first.text.fill('x') // before it was written
  await stored(one, 1)
  const [hit, other] = (await Promise.all([one.get('a'), one.get('a')])) as [Value, Value]
  for (const value of [second, hit, other]) {
    t.strictSame(value, one.value)
    for (const { buffer, byteLength } of Object.values(value)) t.equal(buffer.byteLength, byteLength)
    value.text.fill('x')
  }
  t.equal(one.loads, 1)
})

t.test('an instance of a class has its fields alone, each time; a transformer makes one of them', async (t) => {
  const one = await own(t)
  const { app } = one
  const cache = app.cache
    .define('plain', { ttl: 60 }, (x: number) => new Point(x))
    .define(
      'points',
      { ttl: 60, transformer: { serialize: ({ x }) => x, deserialize: (x: number) => new Point(x) } },
      (x: number) => new Point(x),
    )
  for (let call = 0; call < 2; call++) {
    const plain = await cache.plain(2)
    t.strictSame(plain, { x: 2 })
    // @ts-expect-error The type knows that methods are gone.
    t.throws(() => plain.double(), TypeError)
    t.equal((await cache.points(2)).double(), 4)
    await stored(one, 2)
  }
})

t.test('what cannot be kept is answered as it is, and the log says why', async (t) => {
  const one = await own(t)
  const told: unknown[] = []
  const { app } = one
  const large = { text: 'x'.repeat(9 * 2 ** 20) }
  const cache = app.cache
    .define('function', { ttl: 60, onError: (err) => told.push(err) }, () => ({ call: () => 'called' }))
    .define('large', { ttl: 60 }, () => large)
    .define('ttl', { ttl: () => Number.NaN }, () => 1)
    .define('throwing', { ttl: () => JSON.parse('{') }, () => 1)
    .define('short', { ttl: () => 0 }, () => 1)
  for (let call = 0; call < 2; call++) {
    t.equal(((await cache.function()) as unknown as { call(): string }).call(), 'called')
    t.equal(await cache.large(), large)
    t.same([await cache.ttl(), await cache.throwing(), await cache.short()], [1, 1, 1])
  }
  t.match(told.map(String), Array(2).fill(/could not be cloned/))
  await until(
    () => lines(app).length,
    (count) => count >= 4,
  )
  t.match(
    new Map(lines(app).map(({ cache, part, err }) => [cache, { part, err }])),
    new Map([
      ['function', { part: 'value', err: { message: /could not be cloned/ } }],
      ['large', { part: 'value', err: { message: /Too large/ } }],
      ['ttl', { part: 'ttl', err: { message: /must be a number of seconds: NaN/ } }],
      ['throwing', { part: 'ttl', err: { message: /JSON/ } }],
    ]),
  )
  t.equal(lines(app).length, 4)
  t.same(await app.redis.keys('*cache2:*'), [])
})

t.test('times and references can be functions; the key is known to them and to the load', async (t) => {
  const one = await own(t)
  const { app } = one
  const cache = app.cache.define(
    'dynamic',
    {
      ttl: ({ seconds }) => seconds,
      stale: ({ seconds }) => seconds,
      references: async (_argument: { id: number }, key) => (key === '5' ? null : `of:${key}`),
      serialize: ({ id }) => String(id),
    },
    async ({ id }: { id: number }, key: string) => ({ seconds: id * 100, key }),
  )
  t.same(await cache.dynamic({ id: 3 }), { seconds: 300, key: '3' })
  await stored(one, 1)
  const [fresh, kept] = await Promise.all([
    app.redis.ttl(`${NAME}:cache2-fresh:dynamic:3`),
    app.redis.ttl(`${NAME}:cache2:dynamic:3`),
  ])
  t.ok(fresh > 200 && fresh <= 300 && kept > 500 && kept <= 600)
  await app.cache.invalidateAll('of:3')
  await app.cache.invalidateAll(null)
  t.same(await cache.dynamic({ id: 5 }), { seconds: 500, key: '5' })
  t.match(await app.redis.keys('*reference*'), [/of:3/])
})

t.test('the types say what comes back', async (t) => {
  const { app } = await own(t)
  const loaded = {
    at: new Date(0),
    tags: new Map([['a', new Point(1)]]),
    list: [new Point(2)] as const,
    greet: () => 'hi',
  }
  const cache = app.cache.define('typed', { ttl: 60 }, async (id: string, _key: string) => ({
    ...loaded,
    greet: undefined,
    id,
  }))
  const { at, tags, list, id } = await cache.typed('a')
  const [day, x, y, name]: [number, number | undefined, number, string] = [at.getDay(), tags.get('a')?.x, list[0].x, id]
  t.same([day, x, y, name], [4, 1, 2, 'a'])
  // @ts-expect-error
  tags.get('a')?.double
  // @ts-expect-error
  cache.typed(1)
  const json = app.cache.define('json', { ttl: 60 }, (): Json => [{ a: [1] }])
  const parsed: Json = await json.json()
  t.same(parsed, [{ a: [1] }])
  const optional = app.cache.define('optional', { ttl: 60 }, (id?: string) => id)
  t.equal(await optional.optional(), undefined)
})
