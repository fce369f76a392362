import { type Kysely, sql } from 'kysely'
import { reads } from './reads/read.ts'

const ROWS = 10_000

/** What the routes of app.ts read, in a migrated database. */
export async function makeNotes(db: Kysely<never>): Promise<void> {
  const schema = db.schema as Kysely<unknown>['schema']
  await schema
    .createTable('bench_notes')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('text', 'text')
    .execute()
  await sql`insert into bench_notes select gen_random_uuid(), 'note ' || n from generate_series(1, ${sql.lit(ROWS)}) n`.execute(
    db,
  )
  await sql`analyze bench_notes`.execute(db)
  await sql`create table bench_orders (id uuid primary key default gen_random_uuid(), payload jsonb)`.execute(db)
  for (const { prepare } of reads) await prepare?.(db)
}
