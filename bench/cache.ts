import { once } from 'node:events'
import { createRequire } from 'node:module'
import { fastify } from 'fastify'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import cachePlugin from '../src/cache/cache.ts'
import type { Config } from '../src/core/config/settings.ts'
import type { Bench, Measured } from './bench.ts'
import { atMost, interleave, ratio, Table } from './report.ts'

/** Calls that are under way at once. */
const CALLERS = 20
const ROW = { id: 'a', name: 'Acme', is_active: true, created_at: new Date(), updated_at: new Date() }
const SECONDS = 600

interface Way {
  name: string
  get(id: string): Promise<unknown>
  invalidate(reference: string): Promise<unknown>
}

/** What one call of the cache costs, beside async-cache-dedupe with a storage of its own. */
export async function cache({ servers, quick }: Bench): Promise<Measured> {
  const calls = quick ? 2_000 : 20_000
  const table = new Table(
    'Cache',
    [
      { key: 'perSecond', head: 'calls/s' },
      { key: 'processor', head: 'processor µs a call', digits: 1 },
    ],
    `A row with two dates, by one reference; ${CALLERS} callers, one of 1000 keys, ${calls} calls a round, in one process.`,
  )
  const redis = new Redis(servers.redisUrl)
  await once(redis, 'ready')
  try {
    const ways = [await own(redis), dedupe(redis)]
    let round = 0
    await interleave(
      quick ? 2 : 5,
      ways.map(({ name, get, invalidate }) => async () => {
        const prefix = `${round++}-`
        const id = (n: number) => prefix + (n % 1_000)
        for (let n = 0; n < 1_000; n++) await get(id(n))
        for (const [what, call] of Object.entries({
          hit: (n: number) => get(id(n)),
          miss: (n: number) => get(`${prefix}miss-${n}`),
          invalidation: (n: number) => invalidate(`thing:${id(n)}`),
        })) {
          await table.measure(`${what}, ${name}`, () => measured(calls, call))
        }
      }),
    )
    const cost = (what: string, { name }: Way) => table.values(`${what}, ${name}`, 'processor')
    const [ours, theirs] = ways as [Way, Way]
    const over = (what: string) => ratio(cost(what, ours), cost(what, theirs))
    return { table, targets: [atMost(2, 'cache: processor of a hit over async-cache-dedupe', over('hit'))] }
  } finally {
    redis.disconnect()
  }
}

async function measured(calls: number, call: (n: number) => Promise<unknown>) {
  const [began, before] = [performance.now(), process.cpuUsage()]
  let next = 0
  const caller = async () => {
    while (next < calls) await call(next++)
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  const { user, system } = process.cpuUsage(before)
  return { perSecond: (calls / (performance.now() - began)) * 1_000, processor: (user + system) / calls }
}

async function own(redis: Redis): Promise<Way> {
  const app = fastify()
  const backend = async (): Promise<void> => {
    app.decorate('config', { REDIS_KEY_PREFIX: 'bench:' } as Config)
    app.decorate('redis', redis as typeof app.redis)
  }
  await app
    .register(fp(backend, { name: 'env' }))
    .register(fp(async () => {}, { name: 'redis' }))
    .register(cachePlugin)
  const defined = app.cache.define(
    'thing',
    { ttl: SECONDS, references: (id) => `thing:${id}` },
    async (_: string) => ROW,
  )
  return { name: '`app.cache`', get: defined.thing, invalidate: (reference) => app.cache.invalidateAll(reference) }
}

/** With the storage for Redis that its README shows. */
function dedupe(client: Redis): Way {
  const { createCache } = createRequire(import.meta.url)('async-cache-dedupe')
  const invalidation = { referencesTTL: SECONDS }
  const theirs = createCache({ ttl: SECONDS, storage: { type: 'redis', options: { client, invalidation } } })
  theirs.define('thing', { references: (id: string) => [`thing:${id}`] }, async () => ROW)
  return { name: 'async-cache-dedupe', get: theirs.thing, invalidate: (reference) => theirs.invalidateAll(reference) }
}
