import fastifyPostgres from '@fastify/postgres'
import fp from 'fastify-plugin'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { retry } from '../core/retry.ts'
import { connectionOptions } from './connection.ts'
import { guard } from './guard.ts'
import { CountingPool } from './pool.ts'
import { Probe } from './probe.ts'
import type { DB } from './types.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Kysely<DB>
  }
}

/** Of several servers, the one that takes writes is asked this often whether it still does. */
const WATCH_MS = 1_000

/** `app.pg`, one pool, and `app.db`, Kysely over it. @fastify/postgres owns the pool and ends it. */
export default fp(
  async function database(fastify) {
    const { config, health, lifecycle, log } = fastify
    const options = connectionOptions(config, 'service', log)
    await fastify.register(fastifyPostgres, {
      ...options,
      pg: { ...pg, Pool: CountingPool },
      min: config.DATABASE_POOL_MIN,
      max: config.DATABASE_POOL_MAX,
      connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: config.DATABASE_IDLE_TIMEOUT_MS,
      maxLifetimeSeconds: config.DATABASE_MAX_LIFETIME_SECONDS,
      statement_timeout: config.DATABASE_STATEMENT_TIMEOUT_MS,
      query_timeout: config.DATABASE_QUERY_TIMEOUT_MS,
    })
    const onLost = () => health.invalidate()
    guard(fastify.pg.pool, log, onLost)
    fastify.decorate('db', new Kysely<DB>({ dialect: new PostgresDialect({ pool: fastify.pg.pool }) }))

    const probe = new Probe(options, onLost)
    const deadline = () => AbortSignal.timeout(config.HEALTH_TIMEOUT_MS)
    fastify.addHook('onClose', async () => probe.close())
    if (options.several) {
      // Finding another primary cuts off the queries that hang on the old one. They must not wait for a prober.
      const watch = setInterval(() => probe.check(deadline()).catch(() => {}), WATCH_MS)
      fastify.addHook('onClose', async () => clearInterval(watch))
    }
    health.add({ name: 'database', check: (signal) => probe.check(signal) })

    lifecycle.add('database', ({ signal }) =>
      retry(() => probe.check(AbortSignal.any([signal, deadline()])), {
        signal,
        log,
        message: 'waiting for the database',
      }),
    )
  },
  { name: 'database', fastify: '5.x', dependencies: ['env', 'lifecycle', 'health'] },
)
