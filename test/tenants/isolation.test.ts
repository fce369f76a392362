import { readFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import t from 'tap'
import { unstarted } from '../support/app.ts'
import { database, migrationsFolder, query, ROOT, shell } from '../support/helper.ts'
import { leaks } from './leaks.ts'

// One row a leak: its kind, its name, and what to do. What you mean to have goes into allowed.ts.
t.test('through nothing in the catalogs can one tenant see another', async (t) => {
  t.same(await leaks(await database(t)), [])
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

t.test(
  "docs: both ways in which a migration changes every tenant's rows, as an owner that bypasses nothing",
  async (t) => {
    const page = readFileSync(path.join(ROOT, 'docs/tenants.md'), 'utf8')
    const [, section] = page.split("## A migration that changes every tenant's rows")
    const migrations = [...(section ?? '').matchAll(/```ts\n(import.*?)```/gs)].map(([, code]) => code as string)
    t.equal(migrations.length, 2)
    for (const migration of migrations) {
      const DATABASE_URL = await database(t)
      await query(DATABASE_URL, 'drop table if exists notes cascade')
      await query(DATABASE_URL, "insert into tenants (slug, name) values ('a', 'A'), ('b', 'B')")
      await query(DATABASE_URL, 'create table notes (tenant_id uuid not null references tenants, text text)')
      await query(DATABASE_URL, "insert into notes select id, ' ' || slug from tenants")
      await query(DATABASE_URL, "call isolate_tenants('notes')")
      const before = await leaks(DATABASE_URL, {})
      const folder = migrationsFolder(t, { '99990101000000_trim.ts': migration })
      await (await unstarted(t, { DATABASE_URL }, { folder })).lifecycle.start()
      t.same(await leaks(DATABASE_URL, {}), before, 'isolated as before')
      const bypass = 'select rolsuper or rolbypassrls as bypass from pg_roles where rolname = current_user'
      t.same(await query(DATABASE_URL, bypass), [{ bypass: false }])
      await query(DATABASE_URL, 'alter table notes no force row level security')
      t.same(await query(DATABASE_URL, 'select text from notes order by text'), [{ text: 'a' }, { text: 'b' }])
    }
  },
)

t.test('seeds fill a development database, and twice changes nothing', async (t) => {
  const url = await database(t)
  const seeded = async () => {
    await shell('kysely', ['seed:run'], { DATABASE_URL: url })
    return query(url, 'select * from tenants order by slug')
  }
  const once = await seeded()
  t.match(once, [{ slug: 'acme' }, { slug: 'globex' }])
  t.same(await seeded(), once)
})
