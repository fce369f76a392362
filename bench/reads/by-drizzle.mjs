/** What a user might take in place of Kysely. */
import { eq } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { pgTable, text, uuid } from 'drizzle-orm/pg-core'
import pg from 'pg'

const notes = pgTable('bench_notes', { id: uuid().primaryKey(), text: text() })

/** @type {import('./read.ts').Read} */
const read = {
  route: '/drizzle',
  name: 'Drizzle over plain pg',
  reader(app) {
    const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: app.config.DATABASE_POOL_MAX })
    app.addHook('onClose', () => pool.end())
    const db = drizzle(pool)
    return async (id) => (await db.select().from(notes).where(eq(notes.id, id)))[0]
  },
}

export default read
