import { type Kysely, sql } from 'kysely'

/** The base structure of 1.0.0, which the newer one's comment tells apart, did this already. */
export async function isApplied(db: Kysely<never>): Promise<boolean> {
  const { rows } = await sql`select where obj_description('kysely_migration'::regclass) is null`.execute(db)
  return rows.length === 1
}

export async function up(db: Kysely<never>): Promise<void> {
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
}

export async function down(): Promise<void> {
  // The extension stays: other schemas of the database may use it.
}
