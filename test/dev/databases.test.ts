import t, { type Test } from 'tap'
import { ownedDatabases, servingRole } from '../../dev/databases.ts'
import { startPostgres } from '../../dev/postgres.ts'
import { build } from '../support/app.ts'
import { MIGRATIONS, query } from '../support/helper.ts'

async function server(t: Test): Promise<string> {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  return postgres.url
}

/** What `npm run dev` does at each start. */
async function start(superuser: string, names = ['app', 'app_test']) {
  const owners = await ownedDatabases(superuser, 'app_owner', names)
  const serving = await servingRole(superuser, 'app', 'app_owner', names)
  return { DATABASE_URL: serving[0] as string, DATABASE_MIGRATION_URL: owners[0] as string, test: owners[1] as string }
}

t.test('npm run dev: a role serves, owns nothing, and may use what the other one makes', async (t) => {
  const { test, ...settings } = await start(await server(t))
  for (const DATABASE_SCHEMA of ['', 'orders']) {
    const app = await build(t, { ...settings, ...(DATABASE_SCHEMA && { DATABASE_SCHEMA }) })
    t.equal((await app.migrations.compare()).applied.length, MIGRATIONS.length)
    const place = DATABASE_SCHEMA || 'public'
    await query(settings.DATABASE_MIGRATION_URL, `create table ${place}.things (id serial, text text)`)
    await query(settings.DATABASE_URL, `insert into ${place}.things (text) values ('a')`)
    await query(settings.DATABASE_URL, `update ${place}.things set text = 'b'`)
    t.same(await query(settings.DATABASE_URL, `delete from ${place}.things returning id, text`), [{ id: 1, text: 'b' }])
    for (const statement of [`truncate ${place}.things`, `delete from ${place}.kysely_migration`]) {
      await t.rejects(query(settings.DATABASE_URL, statement), { code: '42501' }, statement)
    }
  }
  await query(test, 'create database cloned')
  await t.rejects(query(settings.DATABASE_URL, 'create database another'), { code: '42501' })
})

t.test('what one role did before goes to the owner, with its rows, and the service goes on', async (t) => {
  const superuser = await server(t)
  const [before = ''] = await ownedDatabases(superuser, 'app', ['app', 'app_test'])
  const old = await build(t, { DATABASE_URL: before, DATABASE_SCHEMA: 'orders' })
  await query(before, 'create table orders.things (id serial, text text)')
  await query(before, "insert into orders.things (text) values ('kept')")
  await query(before, 'create view orders.texts as select text from orders.things')
  await old.close()

  for (const time of ['first', 'second']) {
    const { test, ...settings } = await start(superuser)
    await build(t, { ...settings, DATABASE_SCHEMA: 'orders' })
    t.match(await query(settings.DATABASE_URL, 'select * from orders.things'), [{ id: 1, text: 'kept' }], time)
    await query(settings.DATABASE_URL, "insert into orders.things (text) values ('new')")
    await query(settings.DATABASE_URL, "delete from orders.things where text = 'new'")
    t.same(await query(settings.DATABASE_URL, 'select * from orders.texts'), [{ text: 'kept' }])
    await t.rejects(query(settings.DATABASE_URL, 'truncate orders.things'), { code: '42501' })
    await t.rejects(query(settings.DATABASE_URL, 'delete from orders.kysely_migration'), { code: '42501' })
    await query(settings.DATABASE_MIGRATION_URL, 'alter table orders.things add column if not exists more text')
    await query(test, `create database cloned_${time}`)
    // A right that the service's own migration takes stays taken.
    if (time === 'first') await query(settings.DATABASE_MIGRATION_URL, 'revoke update on orders.things from app')
    else await t.rejects(query(settings.DATABASE_URL, "update orders.things set text = ''"), { code: '42501' })
  }
})
