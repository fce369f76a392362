import type { FastifyBaseLogger } from 'fastify'
import type pg from 'pg'
import { redact } from '../core/reasons.ts'

/**
 * Listens to the pool and its clients. Without listeners one terminated backend ends the process: an idle one through
 * the pool's `error` event, which @fastify/postgres leaves alone, one inside a transaction through its client's.
 * `onLost` is told of both.
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
 * Ends a client whose query timed out, so that the pool drops it. pg answers the caller after `query_timeout` and
 * leaves the query running (node-postgres issue 3399); Kysely then gives the client back to the pool, and the next
 * caller waits too. This can go when pg ends the client itself.
 */
function endOnTimeout(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown
  const guarded = (...args: unknown[]) => {
    const answer = query(...args)
    // The pool's own query() passes a callback, and drops the client itself.
    Promise.resolve(answer).catch(({ message }: Error) => {
      if (message === 'Query read timeout') (client as pg.Client).end()
    })
    return answer
  }
  client.query = guarded as typeof client.query
}
