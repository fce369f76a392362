import { type Kysely, sql } from 'kysely'

/** Version 1.0.0 did this in its base structure: there is nothing to do where the extension is, or cannot be. */
export async function isApplied(db: Kysely<never>): Promise<boolean> {
  const { rows } = await sql`
    select from pg_available_extensions
     where name = 'timescaledb' and installed_version is null
       and current_setting('timescaledb.max_background_workers', true) is not null`.execute(db)
  return rows.length === 0
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
