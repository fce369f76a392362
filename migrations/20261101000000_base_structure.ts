import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<never>): Promise<void> {
  // The service, whose role may be another one, looks there at every boot for what is pending.
  await sql`grant select on kysely_migration to public`.execute(db)
  // Tells it from the base structure of 1.0.0, which held both: see isApplied() of their migrations.
  await sql`comment on table kysely_migration is 'time series and tenants apart'`.execute(db)

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
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`drop procedure keep_updated_at(regclass)`.execute(db)
  await sql`drop function set_updated_at()`.execute(db)
  await sql`comment on table kysely_migration is null`.execute(db)
}
