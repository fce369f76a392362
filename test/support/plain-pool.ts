import pg from 'pg'

/** pg's own pool, without the service's. Its end() does not wait for the connections, and a database is dropped under them. */
export function plainPool(connectionString: string, max = 1): pg.Pool {
  const pool = new pg.Pool({ connectionString, max })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}
