import type { FastifyBaseLogger } from 'fastify'
import type pg from 'pg'
import { redact } from '../core/reasons.ts'

/**
 * Without listeners one terminated backend kills the process: an idle one through the pool's `error` event,
 * one inside a transaction through its client's. `onLost` is told of both.
 */
export function guard(pool: pg.Pool, log: FastifyBaseLogger, onLost: () => void): void {
  pool.on('error', () => {})
  pool.on('connect', (client) => {
    log.debug('database connection opened')
    client.on('error', (err) => {
      log.warn({ err: redact(err) }, 'database connection lost')
      onLost()
    })
    client.once('end', () => log.debug('database connection closed'))
    endOnTimeout(client)
  })
}

/**
 * After `query_timeout` pg answers the caller and leaves the query running; Kysely gives the client back to the pool,
 * and whoever takes it next waits too. An ended client is dropped by the pool.
 */
function endOnTimeout(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown
  const guarded = (...args: unknown[]) => {
    const answer = query(...args)
    // A caller with a callback, such as the pool's own query(), sees to it itself.
    Promise.resolve(answer).catch(({ message }: Error) => {
      if (message === 'Query read timeout') (client as pg.Client).end()
    })
    return answer
  }
  client.query = guarded as typeof client.query
}
