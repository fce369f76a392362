import { Kysely } from 'kysely'
import { NO_MIGRATIONS } from 'kysely/migration'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect, migrationState } from '../src/database/migrator.ts'
import { configure } from './app.ts'
import { database, query } from './helper.ts'

/**
 * What the catalogs say of the schema: every relation, column, constraint, index, function, trigger and policy.
 * Not what an extension brings: that stays.
 */
const CATALOGS = `
  select 'column' as kind, table_name || '.' || column_name as name,
         concat_ws(' ', data_type, is_nullable, column_default) as definition
    from information_schema.columns where table_schema = 'public'
  union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace
  union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
  union all select 'function', oid::regprocedure::text, pg_get_functiondef(oid) from pg_proc
    where pronamespace = 'public'::regnamespace
      and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e')
  union all select 'trigger', tgname, pg_get_triggerdef(pg_trigger.oid) from pg_trigger
    join pg_class on pg_class.oid = tgrelid where relnamespace = 'public'::regnamespace and not tgisinternal
  union all select 'policy', polname, concat_ws(' ', polrelid::regclass, pg_get_expr(polqual, polrelid)) from pg_policy
  order by 1, 2, 3`

async function open(t: Test, url: string) {
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => db.destroy())
  return { db, migrator: createMigrator(db) }
}

t.test('up, down to nothing, up again leaves the same schema', async (t) => {
  const url = await database(t, { empty: true })
  const { migrator } = await open(t, url)

  t.equal((await migrator.migrateToLatest()).error, undefined)
  const first = await query(url, CATALOGS)
  t.ok(first.length > 10)

  t.equal((await migrator.migrateTo(NO_MIGRATIONS)).error, undefined)
  const nothing = (await query<{ name: string }>(url, CATALOGS)).filter(({ name }) => !name.startsWith('kysely_'))
  t.same(nothing, [])

  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.same(await query(url, CATALOGS), first)
})

t.test('a second run does nothing', async (t) => {
  const { db, migrator } = await open(t, await database(t))
  t.same(await migrator.migrateToLatest(), { results: [] })
  t.match(await migrationState(db), { pending: [], unknown: [] })
})

t.test('updated_at is kept by the trigger, whoever writes', async (t) => {
  const url = await database(t)
  await query(url, "insert into tenants (slug, name, updated_at) values ('a', 'A', '2000-01-01')")
  const [tenant] = await query<{ fresh: boolean }>(
    url,
    "update tenants set name = 'B' returning updated_at > now() - interval '1 hour' as fresh",
  )
  t.same(tenant, { fresh: true })
})

t.test('an isolated table shows no row to who sets no tenant, also to its owner', async (t) => {
  const url = await database(t)
  await query(url, 'create table isolated_rows (tenant_id uuid not null references tenants)')
  await query(url, "insert into tenants (slug, name) values ('a', 'A'), ('b', 'B')")
  await query(url, 'insert into isolated_rows select id from tenants')
  await query(url, "call isolate_tenants('isolated_rows')")
  t.same(await query(url, 'select * from isolated_rows'), [])
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  await client.query("begin; select set_config('app.tenant_id', (select id from tenants where slug = 'a')::text, true)")
  t.equal((await client.query('select * from isolated_rows')).rowCount, 1)
  await t.rejects(client.query('insert into isolated_rows select id from tenants'), { code: '42501' })
  await client.query('rollback')
  t.equal((await client.query('select * from isolated_rows')).rowCount, 0, "after its first use the setting reads ''")
})
