import fastifyPostgres from '@fastify/postgres'
import fp from 'fastify-plugin'
import { Kysely, PostgresDialect } from 'kysely'
import { connectionOptions } from '../database/connection.ts'
import { guard } from '../database/pool.ts'
import { Probe } from '../database/probe.ts'
import type { DB } from '../database/types.ts'
import { retry } from '../retry.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Kysely<DB>
  }
}

/** `app.pg`, one pool, and `app.db`, Kysely over it. @fastify/postgres owns the pool and ends it. */
export default fp(
  async function database(fastify) {
    const { config, health, lifecycle, log } = fastify
    const options = connectionOptions(config)
    await fastify.register(fastifyPostgres, {
      ...options,
      min: config.DATABASE_POOL_MIN,
      max: config.DATABASE_POOL_MAX,
      connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: config.DATABASE_IDLE_TIMEOUT_MS,
      maxLifetimeSeconds: config.DATABASE_MAX_LIFETIME_SECONDS,
      statement_timeout: config.DATABASE_STATEMENT_TIMEOUT_MS,
      query_timeout: config.DATABASE_QUERY_TIMEOUT_MS,
    })
    guard(fastify.pg.pool, log, () => health.invalidate())
    fastify.decorate('db', new Kysely<DB>({ dialect: new PostgresDialect({ pool: fastify.pg.pool }) }))

    const probe = new Probe(options, () => health.invalidate())
    fastify.addHook('onClose', async () => probe.close())
    health.add({
      name: 'database',
      required: config.READINESS_REQUIRES.includes('database'),
      check: (signal) => probe.check(signal),
    })

    lifecycle.add('database', ({ signal }) =>
      retry(() => probe.check(AbortSignal.any([signal, AbortSignal.timeout(config.HEALTH_TIMEOUT_MS)])), {
        signal,
        log,
        message: 'waiting for the database',
      }),
    )
  },
  { name: 'database', fastify: '5.x', dependencies: ['env', 'lifecycle', 'health'] },
)
