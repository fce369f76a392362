import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/**
 * Runs it, and tells whether it sent a statement. Looks at the connection, because a plugin of Kysely sees neither a query
 * that is compiled already nor what `db.introspection` asks. The dialect has no cursor, so nothing is streamed.
 */
export async function sends(db: Kysely<unknown>, run: Migration['up']): Promise<boolean> {
  const connection = await db.getExecutor().provideConnection(async (connection) => connection)
  const { executeQuery } = connection
  const send = executeQuery.bind(connection)
  let sent = false
  connection.executeQuery = (...query) => {
    sent = true
    return send(...query)
  }
  try {
    await run(db)
    return sent
  } finally {
    connection.executeQuery = executeQuery
  }
}
