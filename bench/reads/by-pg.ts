import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import type { Note, Read } from './read.ts'

/** pg's own pool, as large as the service's. */
export function plainPool(app: FastifyInstance): pg.Pool {
  const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: app.config.DATABASE_POOL_MAX })
  app.addHook('onClose', () => pool.end())
  return pool
}

const read: Read = {
  route: '/pg',
  name: 'plain pg',
  reader(app) {
    const pool = plainPool(app)
    return async (id) => (await pool.query<Note>('select id, text from bench_notes where id = $1', [id])).rows[0]
  },
}

export default read
