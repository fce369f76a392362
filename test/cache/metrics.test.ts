import t from 'tap'
import { type App, build } from '../support/app.ts'
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

t.test('what fails in the cache is counted by its part, while calls are answered', async (t) => {
  const app = await build(t, { ...OWN, REDIS_URL: 'redis://127.0.0.1:1' })
  const failures = (app: App, part: string) => value(app, 'cache_failures_total', { part })
  app.cache.define('opened', { ttl: 60 }, async (id: string) => id)
  const { opened } = app.cache as unknown as Record<string, (id: string) => Promise<string>>
  t.equal(await failures(app, 'read'), undefined, 'none yet')
  for (const id of ['a', 'b']) t.equal(await opened?.(id), id)
  t.equal(await failures(app, 'read'), 2)
  t.equal(await value(app, 'cache_lookups_total', { cache: 'opened', result: 'miss' }), 2)
  await app.cache.clear('opened')
  t.equal(await failures(app, 'invalidate'), 1)
})
