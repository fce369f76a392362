import fastifyPostgres from '@fastify/postgres'
import fp from 'fastify-plugin'
import { Kysely } from 'kysely'
import pg from 'pg'
import { deadlineSignal } from '../core/deadline.ts'
import { reasonOf } from '../core/reasons.ts'
import { failureLog, retry } from '../core/retry.ts'
import { clearText, connectionOptions } from './connection.ts'
import { ServiceDialect } from './dialect.ts'
import { guard } from './guard.ts'
import { ServicePool } from './pool.ts'
import { Probe } from './probe.ts'
import { Statements } from './statements.ts'
import type { DB } from './types.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Kysely<DB>
  }
}

/** How often the service asks, of several servers, the one that takes writes whether it still does. */
const WATCH_MS = 1_000

/** `app.pg`, one pool, and `app.db`, Kysely over it. @fastify/postgres owns the pool and ends it. */
export default fp(
  async function database(fastify) {
    const { config, health, lifecycle, log } = fastify
    const options = connectionOptions(config, 'service', log)
    const settings = clearText(config)
    if (settings.length > 0) log.info({ settings }, 'the database is on another host, and spoken to in clear text')
    await fastify.register(fastifyPostgres, {
      ...options,
      pg: { ...pg, Pool: ServicePool },
      min: config.DATABASE_POOL_MIN,
      max: config.DATABASE_POOL_MAX,
      connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: config.DATABASE_IDLE_TIMEOUT_MS,
      maxLifetimeSeconds: config.DATABASE_MAX_LIFETIME_SECONDS,
      statement_timeout: config.DATABASE_STATEMENT_TIMEOUT_MS,
      idle_in_transaction_session_timeout:
        config.DATABASE_IDLE_TRANSACTION_TIMEOUT_MS ?? config.DATABASE_STATEMENT_TIMEOUT_MS,
    })
    const pool = fastify.pg.pool as ServicePool
    fastify.decorate('db', new Kysely<DB>({ dialect: new ServiceDialect({ pool }) }))

    const onLost = () => health.invalidate()
    const check = () => probe.check(deadlineSignal(config.HEALTH_TIMEOUT_MS))
    const statements = new Statements(pool, {
      check,
      bytesRead: () => probe.bytesRead,
      queryTimeoutMs: config.DATABASE_QUERY_TIMEOUT_MS,
      silenceMs: config.DATABASE_CONNECT_TIMEOUT_MS,
    })
    const probe = new Probe(options, {
      maxLifetimeMs: config.DATABASE_MAX_LIFETIME_SECONDS * 1_000,
      suspects: () => statements.suspects(),
      onWell: (report) => statements.judge(report),
      onLost,
    })
    fastify.addHook('onClose', async () => probe.close())
    // Another server may take the writes by now: then the probe finds it, and the pool follows.
    guard(pool, log, { onLost, onReadOnly: () => check().catch(onLost) })
    const exhausted = failureLog(log, 'the database pool is exhausted')
    pool.events = {
      onExhausted: (err, exhaustedMs) => exhausted.failed(err, { exhaustedMs }),
      onFree: exhausted.over,
      onUnfinished: () => log.warn('a connection came back inside of a transaction, which is rolled back: COMMIT it'),
      onRefused(err) {
        // An open connection proves nothing when a new one is refused, unless the server is only full or slow.
        if (['limit', 'timeout'].includes(reasonOf(err))) return
        probe.suspect()
        onLost()
      },
    }
    if (options.several) {
      // Finding another primary cuts off the queries that hang on the old one. They must not wait for a prober.
      const watch = setInterval(() => check().catch(() => {}), WATCH_MS)
      fastify.addHook('onClose', async () => clearInterval(watch))
    }
    health.add({ name: 'database', check: (signal) => probe.check(signal) })

    lifecycle.add('database', ({ signal }) =>
      retry(() => probe.check(AbortSignal.any([signal, deadlineSignal(config.HEALTH_TIMEOUT_MS)])), {
        signal,
        log,
        message: 'waiting for the database',
      }),
    )
  },
  { name: 'database', fastify: '5.x', dependencies: ['env', 'lifecycle', 'health'] },
)
