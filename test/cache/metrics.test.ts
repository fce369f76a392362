import t from 'tap'
import { build } from '../support/app.ts'
import { OWN, value } from '../support/metrics.ts'

t.test('the cache counts hits and misses, and tells those who ask for them too', async (t) => {
  const app = await build(t, OWN)
  const told: string[] = []
  const name = `thing-${Math.random()}`
  const onHit = (key: string) => told.push(`hit ${key}`)
  app.cache.define(name, { ttl: 60, onHit }, async (id: string) => id)
  app.cache.define('deduped', async (id: string) => id)
  const cache = app.cache as unknown as Record<string, (id: string) => Promise<string>>
  for (const id of ['a', 'a', 'b', 'a']) t.equal(await cache[name]?.(id), id)
  t.equal(await cache['deduped']?.('a'), 'a')

  t.equal(await value(app, 'cache_lookups_total', { cache: name, result: 'hit' }), 2)
  t.equal(await value(app, 'cache_lookups_total', { cache: name, result: 'miss' }), 2)
  t.equal(await value(app, 'cache_lookups_total', { cache: 'deduped' }), undefined)

  app.cache.define('missed', { ttl: 60 }, async (id: string) => id)
  await cache['missed']?.(String(Math.random()))
  t.equal(await value(app, 'cache_lookups_total', { cache: 'missed', result: 'miss' }), 1)
  t.equal(await value(app, 'cache_lookups_total', { cache: 'missed', result: 'hit' }), undefined, 'none yet')
  t.same(told, ['hit a', 'hit a'])
})
