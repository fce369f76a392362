/** What a user might take in place of Kysely. */
import { plainPool } from './by-pg.ts'

/** @type {import('./read.ts').Read} */
const read = {
  route: '/drizzle',
  name: 'Drizzle over plain pg',
  reader(app) {
    const opening = open(plainPool(app))
    return async (id) => (await (await opening)(id))[0]
  },
}

/** Imported here, because the bench reads this file before it installs what it needs. */
async function open(pool) {
  const [{ eq }, { drizzle }, { pgTable, text, uuid }] = await Promise.all([
    import('drizzle-orm'),
    import('drizzle-orm/node-postgres'),
    import('drizzle-orm/pg-core'),
  ])
  const notes = pgTable('bench_notes', { id: uuid().primaryKey(), text: text() })
  const db = drizzle(pool)
  return (id) => db.select().from(notes).where(eq(notes.id, id))
}

export default read
