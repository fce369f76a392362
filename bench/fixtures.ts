import { type Kysely, sql } from 'kysely'
import { tenantColumns } from '../src/tenants/columns.ts'

export const TENANT_ID = '0b6cbd0d-7c6b-4e0c-9ee1-8b4c44b9a1a0'
const ROWS = 10_000

/** What the routes of app.ts read, in a migrated database: a table, and the same with tenants. */
export async function makeNotes(db: Kysely<never>): Promise<void> {
  const schema = db.schema as Kysely<unknown>['schema']
  await sql`insert into tenants (id, slug, name) values (${TENANT_ID}, 'bench', 'Bench')`.execute(db)
  await schema
    .createTable('bench_notes')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('text', 'text')
    .execute()
  await schema
    .createTable('bench_tenant_notes')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .$call(tenantColumns)
    .addColumn('text', 'text')
    .execute()
  await sql`call isolate_tenants('bench_tenant_notes')`.execute(db)
  await sql`insert into bench_notes select gen_random_uuid(), 'note ' || n from generate_series(1, ${sql.lit(ROWS)}) n`.execute(
    db,
  )
  await db.transaction().execute(async (trx) => {
    await sql`select set_config('app.tenant_id', ${TENANT_ID}, true)`.execute(trx)
    await sql`insert into bench_tenant_notes (id, tenant_id, text)
      select id, ${TENANT_ID}::uuid, text from bench_notes`.execute(trx)
  })
  await sql`analyze bench_notes, bench_tenant_notes`.execute(db)
}
