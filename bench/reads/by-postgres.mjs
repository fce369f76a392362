/** What a user might take in place of pg. */
import postgres from 'postgres'

/** @type {import('./read.ts').Read} */
const read = {
  route: '/postgres',
  name: 'postgres (postgres.js)',
  reader(app) {
    const sql = postgres(process.env.DATABASE_URL, { max: app.config.DATABASE_POOL_MAX })
    app.addHook('onClose', () => sql.end())
    return async (id) => (await sql`select id, text from bench_notes where id = ${id}`)[0]
  },
}

export default read
