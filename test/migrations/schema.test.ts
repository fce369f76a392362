import { Kysely } from 'kysely'
import { NO_MIGRATIONS } from 'kysely/migration'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect, migrationState } from '../../src/migrations/migrator.ts'
import { configure } from '../support/app.ts'
import { CATALOGS } from '../support/catalogs.ts'
import { database, MIGRATIONS, query } from '../support/helper.ts'

async function open(t: Test, url: string) {
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => db.destroy())
  return { db, migrator: createMigrator(db) }
}

t.test('up, down to nothing, up again leaves the same schema', async (t) => {
  const url = await database(t, { empty: true })
  const { migrator } = await open(t, url)

  t.equal((await migrator.migrateToLatest()).error, undefined)
  const first = await query<{ name: string }>(url, CATALOGS)
  t.ok(first.some(({ name }) => !name.startsWith('kysely_')))

  t.equal((await migrator.migrateTo(NO_MIGRATIONS)).error, undefined)
  const nothing = (await query<{ name: string }>(url, CATALOGS)).filter(({ name }) => !name.startsWith('kysely_'))
  t.same(nothing, [])

  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.same(await query(url, CATALOGS), first)
})

t.test('one by one: down to nothing, and up again', async (t) => {
  const url = await database(t)
  const { migrator } = await open(t, url)
  const first = await query(url, CATALOGS)
  for (const name of MIGRATIONS.toReversed()) {
    t.match((await migrator.migrateDown()).results, [{ migrationName: name, status: 'Success' }])
  }
  for (const name of MIGRATIONS) {
    t.match((await migrator.migrateUp()).results, [{ migrationName: name, status: 'Success' }])
  }
  t.same(await query(url, CATALOGS), first)
})

t.test('a second run does nothing', async (t) => {
  const { db, migrator } = await open(t, await database(t))
  t.same(await migrator.migrateToLatest(), { results: [] })
  t.match(await migrationState(db), { pending: [], unknown: [] })
})

t.test('updated_at is kept by the trigger, whoever writes', async (t) => {
  const url = await database(t)
  await query(url, "create table kept (id int, updated_at timestamptz); call keep_updated_at('kept')")
  await query(url, "insert into kept values (1, '2000-01-01')")
  const [row] = await query<{ fresh: boolean }>(
    url,
    "update kept set id = 2 returning updated_at > now() - interval '1 hour' as fresh",
  )
  t.same(row, { fresh: true })
})
