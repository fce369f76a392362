/**
 * The service with routes to measure: one that answers a constant, one for each way to read a row by its key, and one for
 * each other work.
 */
import type { Kysely } from 'kysely'
import { sql } from 'kysely'
import service from '../src/app.ts'
import { createFastify } from '../src/core/requests.ts'
import { type Note, reads } from './reads/read.ts'
import { type Tables, works } from './work/work.ts'

/** With one key alone a cache would answer many requests with one look into Redis. */
const KEYS = 1_000

const app = createFastify()
await app.register(service)

const db = app.db as unknown as Kysely<{ bench_notes: Note }>
const ids: string[] = []
const note = { type: 'object', properties: { id: { type: 'string' }, text: { type: 'string' } } }
const readers = reads.map(({ route, reader }) => {
  const read = reader(app, db)
  app.get(route, { schema: { response: { 200: note } } }, () => read(ids[Math.floor(Math.random() * KEYS)] as string))
  return read
})
for (const { route, schema = {}, body, worker } of works) {
  const work = worker(app, app.db as unknown as Kysely<Tables>)
  app.route({ method: body ? 'POST' : 'GET', url: route, schema, handler: ({ body }) => work(body as object) })
}
app.get('/constant', async () => ({ status: 'ok' }))

await app.listen({ host: app.config.HOST, port: app.config.PORT })
const { rows } = await sql<Note>`select id from bench_notes limit ${sql.lit(KEYS)}`.execute(db)
ids.push(...rows.map(({ id }) => id))
// A row that is not there would be read faster; and a cache is to be hit from here on.
for (const read of readers) {
  for (const id of ids) {
    if ((await read(id))?.id !== id) throw new Error('a read misses its row')
  }
}
await app.lifecycle.start()

process.once('SIGTERM', () => void app.close())
