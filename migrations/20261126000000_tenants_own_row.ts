import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<never>): Promise<void> {
  if (!(await isThere(db))) return
  // A transaction that has a tenant sees and writes that tenant's row alone; one without sees all, to look one up by its
  // slug. No FORCE: the table's owner, which migrates, has no tenant and reads them all, also with row_security off.
  await sql`alter table tenants enable row level security`.execute(db)
  await sql`
    create policy own_row on tenants
      using (nullif(current_setting('app.tenant_id', true), '') is null
        or id = nullif(current_setting('app.tenant_id', true), '')::uuid)
      with check (nullif(current_setting('app.tenant_id', true), '') is null
        or id = nullif(current_setting('app.tenant_id', true), '')::uuid)`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  if (!(await isThere(db))) return
  await sql`drop policy own_row on tenants`.execute(db)
  await sql`alter table tenants disable row level security`.execute(db)
}

/** A service may have dropped the table, and that of another service lie further down the search_path. */
async function isThere(db: Kysely<never>): Promise<boolean> {
  const { rows } = await sql`
    select from pg_class where relname = 'tenants' and relnamespace = to_regnamespace(quote_ident(current_schema()))`.execute(
    db,
  )
  return rows.length > 0
}
