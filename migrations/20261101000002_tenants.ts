import { type Kysely, sql } from 'kysely'

/** The base structure of 1.0.0, which the newer one's comment tells apart, did this already. */
export async function isApplied(db: Kysely<never>): Promise<boolean> {
  const { rows } = await sql`select where obj_description('kysely_migration'::regclass) is null`.execute(db)
  return rows.length === 1
}

export async function up(db: Kysely<never>): Promise<void> {
  // call isolate_tenants('a_table'): who sets no tenant sees no row. FORCE, so that the table's owner is held to it
  // too. nullif: after its first use in a session the setting reads '' outside a transaction that set it, not null.
  await sql`
    create procedure isolate_tenants(target regclass) language plpgsql as $$
    begin
      execute format('alter table %s enable row level security, force row level security', target);
      execute format('create policy tenant_isolation on %s
        using (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)
        with check (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)', target);
    end $$`.execute(db)

  await db.schema
    .createTable('tenants')
    .addColumn('id', 'uuid', (col) => col.primaryKey().defaultTo(sql`gen_random_uuid()`))
    .addColumn('slug', 'text', (col) => col.notNull().unique())
    .addColumn('name', 'text', (col) => col.notNull())
    .addColumn('is_active', 'boolean', (col) => col.notNull().defaultTo(true))
    .addColumn('created_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
    .addColumn('updated_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
    .execute()
  await sql`call keep_updated_at('tenants')`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('tenants').execute()
  await sql`drop procedure isolate_tenants(regclass)`.execute(db)
  // From here on it is not there, also where the base structure of 1.0.0 made it.
  await sql`comment on table kysely_migration is 'time series and tenants apart'`.execute(db)
}
