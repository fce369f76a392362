import { readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { type App, build as buildService } from '../support/app.ts'
import { ENV, query, ROOT } from '../support/helper.ts'
import { needsPgbouncer, over } from '../support/pgbouncer.ts'
import { startPgbouncer } from '../support/pgbouncer-server.ts'
import { skeletonMigrations } from './migrations.ts'
import { twoRoles } from './two-roles.ts'

const build = (t: Test, variables: NodeJS.ProcessEnv) =>
  buildService(t, variables, undefined, { folder: skeletonMigrations(t) })

const WORDS = /row-level security|isolated tables|starts with a tenant/
const warnings = ({ logs }: App) => logs.filter(({ level, msg }) => level === 40 && WORDS.test(msg))
const NOTES = "create table notes (tenant_id uuid not null); call isolate_tenants('notes')"
const PRODUCTION = { NODE_ENV: 'production', SHUTDOWN_DELAY_MS: '0', REDIS_URL: ENV.REDIS_URL }

t.test('a role that bypasses row-level security gets one warning at boot, which says what to do', async (t) => {
  const { superuser, postgres } = await twoRoles(t)
  const bypassed = await build(t, { DATABASE_URL: postgres.url })
  t.match(warnings(bypassed), [{ role: 'postgres', msg: /NOSUPERUSER NOBYPASSRLS.*DATABASE_MIGRATION_URL/ }])
  t.equal(warnings(bypassed).length, 1)
  await query(postgres.url, NOTES)
  t.equal(warnings(await build(t, { DATABASE_URL: postgres.url, ...PRODUCTION })).length, 1, 'and no other')

  await superuser("create role bypassing login bypassrls password 'secret'")
  const url = Object.assign(new URL(postgres.url), { username: 'bypassing', password: 'secret' }).href
  t.match(warnings(await build(t, { DATABASE_URL: url, MIGRATIONS: 'off' })), [{ role: 'bypassing' }])
})

t.test('two roles that bypass nothing get none, nor does one in development', async (t) => {
  const { settings, own } = await twoRoles(t)
  t.same(warnings(await build(t, { ...settings, ...PRODUCTION })), [])
  await own(NOTES)
  t.same(warnings(await build(t, { ...settings, ...PRODUCTION })), [])
  const app = await build(t, { DATABASE_URL: settings.DATABASE_MIGRATION_URL })
  t.same(warnings(app), [])
  t.notOk('tenants' in (await app.inject('/health/ready')).json().checks, 'and readiness does not show the look')
})

t.test('a role that migrates and bypasses row-level security gets a warning, whoever looks', async (t) => {
  const { settings, own, superuser } = await twoRoles(t)
  await superuser('alter role shop_owner bypassrls')
  t.same(warnings(await build(t, settings)), [], 'not before there is an isolated table')
  await own(NOTES)
  const cases = [
    settings,
    { ...settings, MIGRATIONS: 'check' },
    { DATABASE_URL: settings.DATABASE_URL, MIGRATIONS: 'off' },
  ]
  for (const variables of cases) {
    const found = warnings(await build(t, variables))
    t.match(found, [{ role: 'shop_owner', msg: /its views.*NOBYPASSRLS/ }])
    t.equal(found.length, 1)
  }
  await superuser('alter role shop_owner nobypassrls')
  await superuser("create role migrator login bypassrls password 'secret' in role shop_owner")
  const url = Object.assign(new URL(settings.DATABASE_MIGRATION_URL), { username: 'migrator', password: 'secret' }).href
  const owningNothing = { ...settings, DATABASE_MIGRATION_URL: url }
  t.match(warnings(await build(t, owningNothing)), [{ role: 'migrator' }], 'of which only the URL knows')
  const objects = {
    'view all_notes': 'as select * from notes',
    'materialized view kept_notes': 'as select * from notes',
    'function count_notes()': 'returns bigint security definer language sql as $$ select count(*) from notes $$',
  }
  for (const [object, definition] of Object.entries(objects)) {
    await superuser(`create ${object} ${definition}`)
    t.match(warnings(await build(t, settings)), [{ role: 'postgres' }], object)
    await superuser(`alter extension plpgsql add ${object}`)
    t.same(warnings(await build(t, settings)), [], 'unless an extension brought it')
  }
  await superuser('create function one() returns int language sql as $$ select 1 $$')
  t.same(warnings(await build(t, settings)), [])
})

t.test('the same behind a pooler', needsPgbouncer, async (t) => {
  const { settings, own, superuser } = await twoRoles(t)
  await build(t, settings)
  await own(NOTES)
  await superuser('alter role shop_owner bypassrls')
  const pgbouncer = await startPgbouncer(t, settings.DATABASE_URL)
  const app = await build(t, over(pgbouncer, settings.DATABASE_MIGRATION_URL))
  t.match(warnings(app), [{ role: 'shop_owner' }])
})

t.test(
  'in production a role gets a warning that owns isolated tables, or may do to them what no policy governs',
  async (t) => {
    const { settings, own, superuser } = await twoRoles(t)
    const owner = { DATABASE_URL: settings.DATABASE_MIGRATION_URL, ...PRODUCTION }
    t.same(warnings(await build(t, owner)), [], 'not before there is one')
    await own(NOTES)
    t.match(warnings(await build(t, owner)), [{ role: 'shop_owner', tables: ['notes'], msg: /DATABASE_MIGRATION_URL/ }])

    for (const right of ['truncate', 'references', 'trigger']) {
      await own(`grant ${right} on notes to shop`)
      const found = warnings(await build(t, { ...settings, ...PRODUCTION }))
      t.match(found, [{ role: 'shop', tables: ['notes'], msg: /REVOKE TRUNCATE, REFERENCES, TRIGGER/ }], right)
      t.same(warnings(await build(t, settings)), [], 'in development none')
      await own(`revoke truncate, references, trigger on notes from shop`)
    }
    await superuser('grant shop_owner to shop')
    t.match(warnings(await build(t, { ...settings, ...PRODUCTION })), [{ role: 'shop', tables: ['notes'] }], 'a member')
  },
)

t.test('a role gets a warning that can become one which bypasses, or whose connections have a tenant', async (t) => {
  const { settings, superuser } = await twoRoles(t)
  await superuser('create role auditors bypassrls; create role readers in role auditors; grant readers to shop')
  t.match(warnings(await build(t, settings)), [{ role: 'shop', roles: ['auditors'], msg: /SET ROLE.*REVOKE/ }])
  await superuser('revoke readers from shop')
  await superuser("alter role shop set app.tenant_id = '00000000-0000-4000-8000-000000000001'")
  t.match(warnings(await build(t, settings)), [{ role: 'shop', msg: /ALTER ROLE … RESET app.tenant_id/ }])
})

t.test('docs: the role of docs/examples.md reads the rows of all tenants, and nothing else', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/examples.md'), 'utf8')
  const [, statements = ''] = /```sql\n(create role.*?)```/s.exec(page) ?? []
  const { settings, own, superuser, postgres } = await twoRoles(t)
  await build(t, settings)
  await own("insert into tenants (slug, name) values ('a', 'A'), ('b', 'B')")
  await own('create table customers (tenant_id uuid not null); insert into customers select id from tenants')
  await own("call isolate_tenants('customers'); create table secrets_of_service (id int)")
  await superuser(statements.replace('…', 'secret'))
  const role = { username: 'shop_reports', password: 'secret', pathname: 'shop' }
  const { href } = Object.assign(new URL(postgres.url), role)
  t.equal((await query(href, 'select from customers')).length, 2)
  t.equal((await query(settings.DATABASE_URL, 'select from customers')).length, 0)
  await t.rejects(query(href, 'select from secrets_of_service'), { code: '42501' })
  await t.rejects(query(href, 'delete from customers'), { code: '25006' })
  t.same(warnings(await build(t, { ...settings, ...PRODUCTION })), [])
})
