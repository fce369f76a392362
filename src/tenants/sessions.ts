import type { FastifyBaseLogger } from 'fastify'
import type pg from 'pg'
import type { ServicePool } from '../database/pool.ts'

/** A statement that may set the tenant. `set_config` can have the name among its values. */
const SETS = /set_config|\bset\s+(session\s+)?"?app\b/i
const NAME = /app"?\s*\.\s*"?tenant_id/i
/** That of `setTenant` and its like, which ends with its transaction if the last word, or value, is true. */
const LOCAL = /set_config\(\s*'app\.tenant_id'\s*,[^,]*,\s*(?:true|\$(\d+))\s*\)/gi
/** Opens or ends a transaction itself, or may: it cannot run inside of another one. */
const TRANSACTION = /^\s*(begin|start|call)\b|;\s*(begin|start)\s*(;|transaction|work|isolation)|\b(commit|rollback)\b/i
const COMMIT = /^\s*end\b|\bcommit\b/i

/** As pg takes it: a text or an object, values, a callback. */
type Query = (...args: unknown[]) => Promise<unknown>
type Statement = { text?: unknown; values?: unknown; submit?: unknown; callback?: unknown; cursor?: Statement }

/**
 * A tenant that is set for the session (`set app.tenant_id = …`) opens its rows to the next user of the connection. So
 * that connection is closed when it is given back. Behind a pooler in transaction mode another client gets the server's
 * connection before, as soon as the transaction ends: there the setting ends in the transaction that made it.
 */
export function guardSessions(pool: ServicePool, log: FastifyBaseLogger): void {
  let isTold = false
  pool.on('connect', (client) => {
    const query = (client.query as Query).bind(client)
    let isSet = false
    const guarded = (...args: unknown[]) => {
      const statement: Statement = Object(typeof args[0] === 'string' ? { text: args[0] } : args[0])
      // A stream of pg-query-stream has them in its cursor.
      const { text: said, values } = statement.cursor ?? statement
      const text = String(said)
      if (setsTenant(text, Array.isArray(args[1]) ? args[1] : values)) {
        isSet = true
        pool.discard(client)
        if (!isTold) log.warn(SESSION)
        isTold = true
      } else if (!isSet || !COMMIT.test(text)) return query(...args)
      const steps = statement.submit || statement.callback ? undefined : stepsOf(client, text)
      return steps ? inSteps(query, steps, args) : query(...args)
    }
    client.query = guarded as typeof client.query
  })
}

const SESSION =
  'a statement sets app.tenant_id for its session, and costs a connection, which is closed after use. ' +
  "Use withTenant or setTenant, or set_config('app.tenant_id', …, true)"

/** Whether the statement sets the tenant beyond its transaction. */
export function setsTenant(text: string, values: unknown): boolean {
  if (!SETS.test(text)) return false
  const all = Array.isArray(values) ? values : []
  const rest = text.replace(LOCAL, (call, n) => (n === undefined || all[n - 1] === true ? '' : call))
  return SETS.test(rest) && [rest, ...all].some((part) => NAME.test(String(part)))
}

type Steps = { before: string[]; after: string[] }

/** What goes around it, so that the setting is gone when its transaction ends; nothing where that cannot be. */
function stepsOf(client: pg.PoolClient, text: string): Steps | undefined {
  const { processID, readyForQuery } = client as unknown as { processID: number; readyForQuery: boolean }
  // Does nothing on a connection of the server itself, which alone knows the id of its process.
  const clear = `select set_config('app.tenant_id', '', false) where pg_backend_pid() <> ${processID}`
  if (!readyForQuery) return undefined
  const status = client.getTransactionStatus()
  if (COMMIT.test(text)) return status === 'T' ? { before: [clear], after: [] } : undefined
  return status === 'I' && !TRANSACTION.test(text) ? { before: ['begin'], after: [clear, 'commit'] } : undefined
}

/** Answers after the last step, as pg does: by a promise, or by the callback that comes last. */
function inSteps(query: Query, { before, after }: Steps, args: unknown[]): Promise<unknown> | undefined {
  const callback = args.at(-1)
  const statement = typeof callback === 'function' ? args.slice(0, -1) : args
  // One after the other, because pg 9 takes no statement before the answer to the last one.
  const run = async () => {
    for (const text of before) await query(text)
    const result = await query(...statement)
    for (const text of after) await query(text)
    return result
  }
  const answer = run().catch(async (err) => {
    await query('rollback').catch(() => {})
    throw err
  })
  if (typeof callback !== 'function') return answer
  answer.then(
    (result) => callback(null, result),
    (err) => callback(err),
  )
  return undefined
}
