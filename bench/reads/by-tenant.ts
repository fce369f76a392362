import { type Kysely, sql } from 'kysely'
import { tenantTable } from '../../src/tenants/columns.ts'
import { withTenant } from '../../src/tenants/with-tenant.ts'
import type { Note, Read } from './read.ts'

export const TENANT_ID = '0b6cbd0d-7c6b-4e0c-9ee1-8b4c44b9a1a0'

/** Two trips to the database: begin, the tenant and the read; and commit. */
const read: Read = {
  route: '/tenant',
  least: 0.5,
  name: '`withTenant`',

  async prepare(db) {
    const schema = db.schema as Kysely<unknown>['schema']
    await sql`insert into tenants (id, slug, name) values (${TENANT_ID}, 'bench', 'Bench')`.execute(db)
    await schema.createTable('bench_tenant_notes').$call(tenantTable).addColumn('text', 'text').execute()
    await sql`call isolate_tenants('bench_tenant_notes')`.execute(db)
    await db.transaction().execute(async (trx) => {
      await sql`select set_config('app.tenant_id', ${TENANT_ID}, true)`.execute(trx)
      await sql`insert into bench_tenant_notes (id, tenant_id, text)
        select id, ${TENANT_ID}::uuid, text from bench_notes`.execute(trx)
    })
    await sql`analyze bench_tenant_notes`.execute(db)
  },

  reader(_, notes) {
    const db = notes as unknown as Kysely<{ bench_tenant_notes: Note }>
    return (id) =>
      withTenant(db, TENANT_ID, (trx) =>
        trx.selectFrom('bench_tenant_notes').select(['id', 'text']).where('id', '=', id).executeTakeFirst(),
      )
  },
}

export default read
