/** What a user might take in place of pg. */

/** @type {import('./read.ts').Read} */
const read = {
  route: '/postgres',
  name: 'postgres (postgres.js)',
  reader(app) {
    // Not at the top, because the bench reads this file before it installs what it needs.
    const opening = import('postgres').then(({ default: postgres }) =>
      postgres(process.env.DATABASE_URL, { max: app.config.DATABASE_POOL_MAX }),
    )
    app.addHook('onClose', async () => (await opening).end())
    return async (id) => {
      const sql = await opening
      return (await sql`select id, text from bench_notes where id = ${id}`)[0]
    }
  },
}

export default read
