import t from 'tap'
import { keyOf, short } from '../../src/cache/keys.ts'
import { until } from '../support/helper.ts'
import { lines, ownRedis, replica } from './replica.ts'

class Money {
  cents = 1
}
class Coin {
  cents = 1
}
class Hidden {
  #cents = 1
  get cents(): number {
    return this.#cents
  }
}

const { url } = await ownRedis(t)

t.test('every argument has an entry of its own', async (t) => {
  const one = await replica(t, url, { references: undefined })
  const all = [
    1,
    '1',
    '~1',
    '~"1"',
    1n,
    true,
    'true',
    null,
    'null',
    undefined,
    'undefined',
    '',
    '~',
    Number.NaN,
    '\ud800',
    '\ud801',
    '~"\\ud800"',
    [],
    [1, 2],
    ['1,2'],
    [[1], 2],
    {},
    { a: 1 },
    { a: '1' },
    { 'a:1': 1 },
    new Map([['a', 1]]),
    new Map([['b', 1]]),
    new Map([[{ a: 1 }, 1]]),
    new Set(['a']),
    new Set(['b']),
    new Date(0),
    new Date(0).toJSON(),
    Buffer.from('a'),
    Buffer.from('b'),
    new Uint8Array([97]),
    new URL('http://a/'),
    new Money(),
    new Coin(),
    { cents: 1 },
    'x'.repeat(300),
    `${'x'.repeat(300)}y`,
    short('x'.repeat(300)),
  ]
  const answers = new Map<unknown, unknown>()
  for (const [index, argument] of all.entries()) {
    one.value = index
    answers.set(argument, await one.get(argument))
  }
  t.same([...answers.values()], [...all.keys()])
  t.equal(one.loads, all.length)
  t.same(lines(one.app), [])
  for (const [index, argument] of all.entries()) t.equal(await one.get(argument), index)
})

t.test('the same argument has the same key, in whatever order its properties are', async (t) => {
  t.equal(keyOf({ a: 1, b: { c: 2, d: 3 } }), keyOf({ b: { d: 3, c: 2 }, a: 1 }))
  t.equal(keyOf(Object.assign(Object.create(null), { a: 1 })), keyOf({ a: 1 }))
  t.equal(keyOf('plain'), 'plain')
  t.ok(short('é'.repeat(10_000)).length < 256)
})

t.test('names do not run into keys', async (t) => {
  const { app } = await replica(t, url)
  const cache = app.cache
    .define('a', { ttl: 60 }, (id: string) => `a ${id}`)
    .define('a:b', { ttl: 60 }, (id: string) => `a:b ${id}`)
  t.equal(await cache.a('b:c'), 'a b:c')
  t.equal(await cache['a:b']('c'), 'a:b c')
})

t.test('what cannot be told apart is not cached, and the log says what to do', async (t) => {
  const one = await replica(t, url, { references: undefined })
  const told: unknown[] = []
  const cache = one.app.cache.define('told', { ttl: 60, onError: (err) => told.push(err) }, (_: unknown) => ++one.loads)
  const loop: unknown[] = []
  loop.push(loop)
  for (const argument of [() => 1, Symbol('a'), { call() {} }, new Hidden(), /a/, loop]) {
    const { loads } = one
    t.same([await cache.told(argument), await cache.told(argument)], [loads + 1, loads + 2])
  }
  t.equal(told.length, 12)
  t.match(lines(one.app)[0], {
    part: 'key',
    cache: 'told',
    err: { message: 'a function cannot be part of a key: give the option serialize' },
  })
})

t.test('references that fail, or are too many, are logged; the call answers', async (t) => {
  const one = await replica(t, url)
  const { app } = one
  const many = Array.from({ length: 1_001 }, (_, n) => `many:${n}`)
  const cache = app.cache
    .define('failing', { ttl: 60, references: () => JSON.parse('{') }, (_: string) => ++one.loads)
    .define('many', { ttl: 60, references: () => many }, (_: string) => ++one.loads)
    .define('bound', { ttl: 60, references: () => [...many.slice(1), ...many.slice(1)] }, (_: string) => ++one.loads)
  t.same([await cache.failing('a'), await cache.failing('a')], [1, 2])
  t.same(await Promise.all([cache.many('a'), cache.many('a')]), [3, 3], 'one load all the same')
  t.equal(await cache.many('a'), 4)
  t.match(lines(app), [
    { part: 'references', cache: 'failing' },
    { part: 'references', cache: 'many', err: { message: 'Too many: 1001, and 1000 at most' } },
  ])
  t.equal(lines(app).length, 2)
  t.equal(await cache.bound('a'), 5)
  await until(
    () => app.redis.keys('*cache2:bound*'),
    (keys) => keys.length === 1,
  )
  t.equal(await cache.bound('a'), 5)
  await app.cache.invalidate('bound', many)
  t.equal(await cache.bound('a'), 6)
})
