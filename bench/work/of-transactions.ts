import type { Kysely } from 'kysely'
import { transact } from '../../src/transact/transact.ts'
import type { Tables, Work } from './work.ts'

/** Reads a row and writes another. */
async function both(db: Kysely<Tables>): Promise<object> {
  const { text } = await db.selectFrom('bench_notes').select('text').limit(1).executeTakeFirstOrThrow()
  return db
    .insertInto('bench_orders')
    .values({ payload: JSON.stringify(text) })
    .returning('id')
    .executeTakeFirstOrThrow()
}

const works: Work[] = [
  {
    route: '/transact',
    name: '`transact`, one read and one write',
    worker: (_, db) => () => transact(db, both),
  },
  {
    route: '/statements',
    name: 'the two statements alone',
    worker: (_, db) => () => both(db),
  },
]

export default works
