import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Kysely } from 'kysely'
import type { DB } from '../../src/database/types.ts'

const release = new EventEmitter()

/** By the Kysely of the service: one of this module's own would have to be loaded too. */
const pause = (db: Kysely<DB>, seconds = 0) =>
  db.selectNoFrom(({ fn, val }) => fn('pg_sleep', [val(seconds)]).as('slept')).execute()

/** More than the system buffers of an answer that nobody reads. */
export const BIG = 64 * 1024 * 1024

function raise(thrown: unknown): never {
  throw thrown
}

const around = new Error('around')
around.cause = new Error('and around', { cause: around })

/** What breaks the process, by route. */
const failures: Record<string, () => void> = {
  '/crash': () => raise(Object.assign(new Error('crash'), { command: { args: ['hunter2'] } })),
  '/crash/null': () => raise(null),
  '/crash/object': () => raise({ password: 'hunter2' }),
  '/crash/around': () => raise(around),
  '/reject': () => void Promise.reject(new Error('rejected')),
  '/reject/undefined': () => void Promise.reject(undefined),
  '/abort': () => process.abort(),
  '/heap': () => {
    const kept: unknown[] = []
    for (;;) kept.push(new Array(100_000).fill(0.5))
  },
}

/** A service that has the cache, as the tests of one without it can be compiled too. */
interface Caching {
  cache: {
    define(name: 'counted', options: { ttl: number }, load: () => Promise<object>): { counted(): Promise<object> }
  }
}

/** Routes that keep the backends busy, or break the process. */
const routes: FastifyPluginAsync = async (fastify) => {
  const number = { type: 'number', default: 0 }
  const schema = { querystring: { type: 'object', properties: { ms: number, seconds: number } } }
  type Query = { Querystring: { ms: number; seconds: number } }

  fastify.get<Query>('/sleep', { schema }, ({ query }) => sleep(query.ms, { slept: query.ms }))
  fastify.get<Query>('/query', { schema }, ({ query }) => pause(fastify.db, query.seconds))
  // Into a table that the test has made.
  fastify.get('/write', async () => {
    await (fastify.db as unknown as Kysely<{ written: object }>).insertInto('written').defaultValues().execute()
    return {}
  })
  // In a transaction: busy for so long, then idle until /release.
  fastify.get<Query>('/transaction', { schema }, ({ query }) =>
    fastify.db.transaction().execute(async (trx) => {
      await pause(trx, query.seconds)
      await once(release, 'release')
      await pause(trx)
      return {}
    }),
  )
  fastify.get('/release', async () => ({ released: release.emit('release') }))
  fastify.get('/pool', async () => {
    const { pg, redis } = fastify
    const { totalCount, idleCount, waitingCount } = pg.pool
    const listeners = pg.pool.listenerCount('error') + redis.listenerCount('close')
    return { totalCount, idleCount, waitingCount, listeners }
  })
  // So many lines of the log, of a thousand characters.
  fastify.get<{ Params: { lines: number } }>('/log/:lines', async ({ log, params }) => {
    for (let line = 0; line < params.lines; line++) log.info({ line, long: 'x'.repeat(1_000) }, 'long')
    return {}
  })
  // Behind the answer.
  for (const [path, fail] of Object.entries(failures)) {
    fastify.get(path, async () => {
      setTimeout(fail)
      return {}
    })
  }
  fastify.get('/fail', () => raise(new Error('failed')))
  fastify.get<Query>('/block', { schema }, async ({ query }) => {
    const end = performance.now() + query.ms
    while (performance.now() < end);
    return {}
  })
  if ('cache' in fastify) {
    const cache = (fastify as unknown as Caching).cache.define('counted', { ttl: 60 }, async () => ({}))
    fastify.get('/cached', () => cache.counted())
  }
  fastify.get('/big', async (_, reply) => reply.send(Buffer.alloc(BIG)))
  fastify.post('/upload', ({ body }) => ({ body }))
}

// Loaded ahead of the service, as its own process runs it: Fastify tells of each instance that it makes, and the service is
// the first.
subscribe('fastify.initialization', function onFirst(message) {
  unsubscribe('fastify.initialization', onFirst)
  const { fastify } = message as { fastify: FastifyInstance }
  // Behind the service's own plugins, whose hooks and error handler are then those of these routes too.
  queueMicrotask(() => fastify.register(fp(routes)))
})
