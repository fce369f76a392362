import { randomUUID } from 'node:crypto'
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely'
import t from 'tap'
import type { DB } from '../../src/database/types.ts'
import { createMigrator } from '../../src/migrations/migrator.ts'
import { setTenant, withTenant } from '../../src/tenants/with-tenant.ts'
import { build, unstarted } from '../support/app.ts'
import { database, MIGRATIONS, query } from '../support/helper.ts'
import { plainPool } from '../support/plain-pool.ts'
import { skeletonMigrations } from './migrations.ts'
import { twoRoles } from './two-roles.ts'

const slugs = async (trx: Transaction<DB>) =>
  (await trx.selectFrom('tenants').select('slug').orderBy('slug').execute()).map(({ slug }) => slug)

t.test("the table of tenants: all of it without a tenant, a tenant's own row with it", async (t) => {
  const { db } = await build(t, (await twoRoles(t)).settings)
  const make = (slug: string) =>
    db.insertInto('tenants').values({ slug, name: slug }).returning('id').executeTakeFirstOrThrow()
  const [{ id: mine }, { id: other }] = [await make('mine'), await make('other')]
  t.same(await db.transaction().execute(slugs), ['mine', 'other'])

  await withTenant(db, mine.toUpperCase(), async (trx) => {
    t.same(await slugs(trx), ['mine'])
    const renamed = await trx.updateTable('tenants').set({ name: 'x' }).returning('slug').execute()
    t.same(renamed, [{ slug: 'mine' }])
    t.equal((await trx.deleteFrom('tenants').where('id', '=', other).executeTakeFirst()).numDeletedRows, 0n)
  })
  for (const run of [
    (trx: Transaction<DB>) => trx.insertInto('tenants').values({ slug: 'new', name: 'new' }).execute(),
    (trx: Transaction<DB>) => trx.updateTable('tenants').set({ id: randomUUID() }).execute(),
  ]) {
    await t.rejects(withTenant<DB, unknown>(db, mine, run), { code: '42501' })
  }
  t.same(await db.transaction().execute(slugs), ['mine', 'other'], 'as before')

  const switched = await db.transaction().execute(async (trx) => {
    await setTenant(trx, mine, { active: true })
    await setTenant(trx, other, { active: true })
    return slugs(trx)
  })
  t.same(switched, ['other'], 'a transaction with a tenant can be given another one')
})

t.test('a foreign key to it holds for a row of a tenant', async (t) => {
  const { settings, own } = await twoRoles(t)
  const { db } = await build(t, settings)
  await own('create table keyed_rows (tenant_id uuid not null references tenants)')
  await own("call isolate_tenants('keyed_rows')")
  const { id } = await db
    .insertInto('tenants')
    .values({ slug: 'a', name: 'A' })
    .returning('id')
    .executeTakeFirstOrThrow()
  const insert = (tenant: string) =>
    withTenant(db, tenant, (trx) => sql`insert into keyed_rows values (${tenant})`.execute(trx))
  await insert(id)
  await t.rejects(insert(randomUUID()), { code: '23503' })
})

/** Whether row-level security is on for it, and its policies. */
const guards = (url: string, table = 'tenants') =>
  query(
    url,
    `select relrowsecurity as enabled, array(select polname::text from pg_policy where polrelid = c.oid) as policies
       from pg_class c where oid = '${table}'::regclass`,
  )

const skip = !MIGRATIONS.includes('20261101000002_tenants') && 'its migrations are squashed'

t.test('the way down takes it back', { skip }, async (t) => {
  const url = await database(t, { empty: true })
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool: plainPool(url) }) })
  t.teardown(() => db.destroy())
  const migrator = createMigrator(db, { folder: skeletonMigrations(t) })
  await migrator.migrateToLatest()
  t.same(await guards(url), [{ enabled: true, policies: ['own_row'] }])
  await migrator.migrateTo('20261101000002_tenants')
  t.same(await guards(url), [{ enabled: false, policies: [] }])
})

t.test('a service that has dropped its table leaves that of another service alone', { skip }, async (t) => {
  const url = await database(t, { empty: true })
  await query(url, 'create table tenants ()')
  const drop = "import { sql } from 'kysely'\nexport const up = (db) => sql`drop table tenants`.execute(db)\n"
  const dropping = { '20261102000000_drop.ts': `${drop}export const down = async () => {}\n` }
  const folder = skeletonMigrations(t, dropping)
  await (await unstarted(t, { DATABASE_URL: url, DATABASE_SCHEMA: 'orders' }, { folder })).lifecycle.start()
  const connectionString = Object.assign(new URL(url), { search: 'options=-c search_path=orders,public' }).href
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool: plainPool(connectionString) }) })
  t.teardown(() => db.destroy())
  t.equal((await createMigrator(db, { folder, schema: 'orders' }).migrateTo('20261102000000_drop')).error, undefined)
  t.same(await guards(url, 'public.tenants'), [{ enabled: false, policies: [] }])
})
