import type { FastifyInstance } from 'fastify'
import type { Reading } from '../core/feature.ts'
import type { ServicePool } from './pool.ts'

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
