import { Type } from 'typebox'
import { plainPool } from '../reads/by-pg.ts'
import type { Work } from './work.ts'

const line = Type.Object({
  article: Type.String({ maxLength: 40 }),
  quantity: Type.Integer({ minimum: 1 }),
  price: Type.Number({ minimum: 0 }),
})
const schema = { body: Type.Object({ lines: Type.Array(line, { minItems: 1, maxItems: 100 }) }) }
/** 2 KB. */
const body = {
  lines: Array.from({ length: 35 }, (_, n) => ({ article: `article ${n}`, quantity: n + 1, price: n / 4 })),
}

const works: Work[] = [
  {
    route: '/insert',
    name: '2 KB of JSON, validated and inserted by Kysely',
    schema,
    body,
    worker: (_, db) => async (body) => {
      const payload = JSON.stringify(body)
      return db.insertInto('bench_orders').values({ payload }).returning('id').executeTakeFirstOrThrow()
    },
  },
  {
    route: '/insert-pg',
    name: 'the same by plain pg',
    schema,
    body,
    worker(app) {
      const pool = plainPool(app)
      return async (body) =>
        (await pool.query('insert into bench_orders (payload) values ($1) returning id', [JSON.stringify(body)]))
          .rows[0]
    },
  },
]

export default works
