import type { FastifyInstance } from 'fastify'
import type { NewHistogram, Reading } from '../core/feature.ts'
import type { ServicePool } from './pool.ts'

/** OpenTelemetry's for the duration of an operation, in seconds. It names none for a wait. */
const BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
const POOL = { db_client_connection_pool_name: 'database' }

/** The pool, by OpenTelemetry's names. */
export function metrics({ pg }: FastifyInstance): Reading[] {
  const pool = pg.pool as ServicePool
  return [
    [
      'db_client_connection_count',
      'Connections by state',
      [
        [{ ...POOL, db_client_connection_state: 'idle' }, pool.idleCount],
        [{ ...POOL, db_client_connection_state: 'used' }, pool.totalCount - pool.idleCount],
      ],
    ],
    ['db_client_connection_max', 'Connections at the most', [[POOL, pool.options.max]]],
    ['db_client_connection_pending_requests', 'Callers that wait for one', [[POOL, pool.waitingCount]]],
    ['db_client_connection_timeouts_total', 'Callers that got no connection in time', [[POOL, pool.timeouts]]],
  ]
}

/** How long each caller waited for a connection, those aside that got none. */
export function observe({ pg }: FastifyInstance, histogram: NewHistogram): void {
  const waits = histogram({
    name: 'db_client_connection_wait_time_seconds',
    help: 'Time until a caller had a connection',
    labelNames: Object.keys(POOL),
    buckets: BUCKETS,
  })
  const { events } = pg.pool as ServicePool
  events.onLent = (ms) => waits.observe(POOL, ms / 1_000)
}
