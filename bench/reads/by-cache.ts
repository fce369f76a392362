import type { Read } from './read.ts'

const read: Read = {
  route: '/cache',
  name: '`app.cache`, hit',
  reader(app, db) {
    const cache = app.cache.define('note', { ttl: 600 }, (id: string) =>
      db.selectFrom('bench_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
    )
    return (id) => cache.note(id)
  },
  atLeast: { times: 2, route: '/kysely', what: 'cache hit over Kysely' },
}

export default read
