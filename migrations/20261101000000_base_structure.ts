import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<never>): Promise<void> {
  // The service, whose role may be another one, looks there at every boot for what is pending.
  await sql`grant select on kysely_migration to public`.execute(db)

  // A server that has not preloaded it, as its setting shows, would end the connection.
  await sql`
    do $$
    begin
      if not exists (select from pg_available_extensions where name = 'timescaledb') then
        raise notice 'timescaledb is not available on this server: going on without it';
      elsif current_setting('timescaledb.max_background_workers', true) is null then
        raise notice 'timescaledb is not in the shared_preload_libraries of this server: going on without it';
      else
        create extension if not exists timescaledb;
      end if;
    exception when insufficient_privilege then
      raise insufficient_privilege using message = format(
        'timescaledb: role %s may not create the extension; a superuser must, in database %s',
        current_user, current_database());
    end $$`.execute(db)

  await sql`
    create function set_updated_at() returns trigger language plpgsql as $$
    begin
      new.updated_at := now();
      return new;
    end $$`.execute(db)

  // call keep_updated_at('a_table'): its updated_at is right whoever writes.
  await sql`
    create procedure keep_updated_at(target regclass) language plpgsql as $$
    begin
      execute format('create trigger set_updated_at before update on %s for each row execute function set_updated_at()', target);
    end $$`.execute(db)

  // call isolate_tenants('a_table'): who sets no tenant sees no row. FORCE, so that the table's owner is held to it too.
  // nullif: after its first use in a session the setting reads '' outside a transaction that set it, not null.
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
  await sql`drop procedure keep_updated_at(regclass)`.execute(db)
  await sql`drop function set_updated_at()`.execute(db)
  // The extension stays: other schemas of the database may use it.
}
