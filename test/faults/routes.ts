import { subscribe } from 'node:diagnostics_channel'
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { sql } from 'kysely'

const release = new EventEmitter()

/** Routes that keep the backends busy, or break the process. */
const routes: FastifyPluginAsyncTypebox = async (fastify) => {
  const schema = { querystring: Type.Object({ ms: Type.Number({ default: 0 }), seconds: Type.Number({ default: 0 }) }) }

  fastify.get('/sleep', { schema }, ({ query }) => sleep(query.ms, { slept: query.ms }))
  fastify.get('/query', { schema }, async ({ query }) => {
    const { rows } = await sql`select pg_sleep(${query.seconds})`.execute(fastify.db)
    return rows
  })
  // In a transaction: busy for so long, then idle until /release.
  fastify.get('/transaction', { schema }, ({ query }) =>
    fastify.db.transaction().execute(async (trx) => {
      await sql`select pg_sleep(${query.seconds})`.execute(trx)
      await once(release, 'release')
      await sql`select 1`.execute(trx)
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
  fastify.get('/crash', async () => {
    setTimeout(() => {
      throw Object.assign(new Error('crash'), { command: { args: ['hunter2'] } })
    })
    return {}
  })
  fastify.get('/reject', async () => {
    Promise.reject(new Error('rejected'))
    return {}
  })
}

// Loaded ahead of the service, as its own process runs it: Fastify tells of each instance that it makes.
subscribe('fastify.initialization', (message) => {
  const { fastify } = message as { fastify: FastifyInstance }
  // Behind the service's own plugins, whose hooks and error handler are then those of these routes too.
  queueMicrotask(() => fastify.register(fp(routes)))
})
