import type { FastifyBaseLogger } from 'fastify'
import type pg from 'pg'
import { markBackend, redact } from '../core/reasons.ts'
import type { ServicePool } from './pool.ts'

/** read_only_sql_transaction: the connection leads to a server that has lost the role of the primary. */
const READ_ONLY = '25006'

interface GuardEvents {
  onLost(): void
  onReadOnly(): void
}

/**
 * Listens to the pool and its clients. Without listeners one terminated backend ends the process: an idle one through
 * the pool's `error` event, which @fastify/postgres leaves alone, one inside a transaction through its client's.
 * A connection that turns out to be read-only is not lent again.
 */
export function guard(pool: ServicePool, log: FastifyBaseLogger, { onLost, onReadOnly }: GuardEvents): void {
  pool.on('error', () => {})
  pool.on('connect', (client) => {
    log.debug('database connection opened')
    client.on('error', (err) => {
      markBackend(err) // the queries of the connection fail with the same one
      log.warn({ err: redact(err) }, 'database connection lost')
      onLost()
    })
    client.once('end', () => log.debug('database connection closed'))
    client.connection.on('errorMessage', ({ code }: pg.DatabaseError) => {
      if (code !== READ_ONLY) return
      pool.discard(client)
      onReadOnly()
    })
  })
}
