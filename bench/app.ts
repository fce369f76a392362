/** The service with routes to measure: one that answers a constant, and four ways to read a row by its key. */
import type { Kysely } from 'kysely'
import pg from 'pg'
import service from '../src/app.ts'
import { createFastify } from '../src/core/requests.ts'
import { withTenant } from '../src/tenants/with-tenant.ts'
import { TENANT_ID } from './fixtures.ts'

interface Note {
  id: string
  text: string
}

/** One key would have the cache answer many requests with one look into Redis. */
const KEYS = 1_000

const app = createFastify()
await app.register(service)

const db = app.db as unknown as Kysely<{ bench_notes: Note; bench_tenant_notes: Note }>
const plain = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: app.config.DATABASE_POOL_MAX })
app.addHook('onClose', () => plain.end())
const cache = app.cache.define('note', { ttl: 600 }, (id: string) =>
  db.selectFrom('bench_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
)

const reads: Record<string, (id: string) => Promise<unknown>> = {
  '/pg': async (id) => (await plain.query<Note>('select id, text from bench_notes where id = $1', [id])).rows[0],
  '/kysely': (id) => db.selectFrom('bench_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
  '/tenant': (id) =>
    withTenant(db, TENANT_ID, (trx) =>
      trx.selectFrom('bench_tenant_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
    ),
  '/cache': (id) => cache.note(id),
}
const ids: string[] = []
const note = { type: 'object', properties: { id: { type: 'string' }, text: { type: 'string' } } }
for (const [route, read] of Object.entries(reads)) {
  app.get(route, { schema: { response: { 200: note } } }, () => read(ids[Math.floor(Math.random() * KEYS)] as string))
}
app.get('/constant', async () => ({ status: 'ok' }))

await app.listen({ host: app.config.HOST, port: app.config.PORT })
const { rows } = await plain.query<Note>('select id from bench_notes limit $1', [KEYS])
ids.push(...rows.map(({ id }) => id))
// A row that is not there would be read faster; and the cache is to be hit from here on.
for (const read of Object.values(reads)) {
  for (const id of ids) {
    const row = (await read(id)) as Note | undefined
    if (row?.id !== id) throw new Error('a read misses its row')
  }
}
await app.lifecycle.start()

process.once('SIGTERM', () => void app.close())
