import { Type } from 'typebox'
import { plainPool } from '../reads/by-pg.ts'
import type { Work } from './work.ts'

const ROWS = 100
const note = Type.Object({ id: Type.String(), text: Type.String() })

const works: Work[] = [
  {
    route: '/list',
    name: '100 rows by Kysely, serialized by their schema',
    schema: { response: { 200: Type.Array(note) } },
    worker: (_, db) => () => db.selectFrom('bench_notes').select(['id', 'text']).limit(ROWS).execute(),
  },
  {
    route: '/list-pg',
    name: 'the same by plain pg and JSON.stringify',
    worker(app) {
      const pool = plainPool(app)
      return async () => JSON.stringify((await pool.query(`select id, text from bench_notes limit ${ROWS}`)).rows)
    },
  },
]

export default works
