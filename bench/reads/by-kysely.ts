import type { Read } from './read.ts'

const read: Read = {
  route: '/kysely',
  name: "Kysely over the service's pool",
  reader: (_, db) => (id) =>
    db.selectFrom('bench_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
  least: 1,
  atLeast: { times: 0.97, route: '/pg', what: 'Kysely over plain pg' },
}

export default read
