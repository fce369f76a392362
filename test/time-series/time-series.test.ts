import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kysely } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import { type App, build, configure, unstarted } from '../support/app.ts'
import { backends, copyProject, database, query, ROOT } from '../support/helper.ts'
import { offerTimescaledb } from './timescaledb.ts'

const OFFERED = "select from pg_available_extensions where name = 'timescaledb'"
const CREATED = "select extname as name from pg_extension where extname = 'timescaledb'"

/** A server that offers the extension, and a database of a role's own: its URLs, as that role and as the superuser. */
async function offering(t: Test, options: { trusted?: boolean; preloaded?: boolean } = {}) {
  const url = await offerTimescaledb(t, options)
  await query(url, "create role owner login password 'secret'")
  await query(url, 'create database app owner owner')
  const superuser = Object.assign(new URL(url), { pathname: '/app' }).href
  return { superuser, owner: Object.assign(new URL(superuser), { username: 'owner', password: 'secret' }).href }
}

t.test('the extension is created where the server offers it', async (t) => {
  const { owner } = await offering(t)
  await build(t, { DATABASE_URL: owner })
  t.same(await query(owner, CREATED), [{ name: 'timescaledb' }])
})

t.test('a role that may not create it is told which one may, and goes on when that is done', async (t) => {
  const { owner, superuser } = await offering(t, { trusted: false })
  const app = await unstarted(t, { DATABASE_URL: owner })
  await t.rejects(app.lifecycle.start(), {
    code: 'MIGRATION_FAILED',
    message: '20261101000001_time_series failed and was rolled back',
    cause: {
      message: 'timescaledb: role owner may not create the extension; a superuser must, in database app',
    },
  })
  await query(superuser, 'create extension timescaledb')
  await build(t, { DATABASE_URL: owner })
})

const notices = ({ logs }: App) => logs.flatMap(({ notice }) => notice ?? [])

t.test('a server that has not preloaded it would end the connection: boot says so and goes on', async (t) => {
  const { owner } = await offering(t, { preloaded: false })
  const app = await build(t, { DATABASE_URL: owner })
  t.same(notices(app), ['timescaledb is not in the shared_preload_libraries of this server: going on without it'])
  t.same(await query(owner, CREATED), [])
})

const offered = (await query(backends.database, OFFERED)).length > 0

t.test('elsewhere boot says so and goes on', { skip: offered && 'the server offers timescaledb' }, async (t) => {
  const app = await build(t, { DATABASE_URL: await database(t, { empty: true }) })
  t.same(notices(app), ['timescaledb is not available on this server: going on without it'])
})

const skip = !offered && 'the server does not offer timescaledb: name one that does in TEST_DATABASE_URL'

t.test('docs: the hypertable isolates tenants, keeps updated_at, and is gone on the way down', { skip }, async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/time-series.md'), 'utf8')
  const [, migration] = /```ts\n(.*?)```/s.exec(page) as unknown as [string, string]
  const directory = await copyProject(t, { 'migrations/99990101000000_readings.ts': migration })
  const url = await database(t)
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => db.destroy())
  const migrator = createMigrator(db, { folder: path.join(directory, 'migrations') })
  t.equal((await migrator.migrateToLatest()).error, undefined)

  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  const as = async (slug: string, statement: string) => {
    await client.query(`begin; select set_config('app.tenant_id', id::text, true) from tenants where slug = '${slug}'`)
    return client.query(statement).finally(() => client.query('commit'))
  }
  await client.query("insert into tenants (slug, name) values ('a', 'A'), ('b', 'B')")
  const insert = (slug: string) => `
    insert into readings (tenant_id, taken_at, value, updated_at)
    select id, day, 1, '2000-01-01' from tenants, (values (date '2026-01-01'), ('2026-06-01')) as days (day)
     where slug = '${slug}'`
  for (const slug of ['a', 'b']) await as(slug, insert(slug))
  await t.rejects(as('a', insert('b')), { code: '42501' }, 'not into another tenant')

  t.same((await client.query('select * from readings')).rows, [], 'no tenant: no row')
  t.equal((await as('a', 'update readings set value = 2')).rowCount, 2)
  const fresh =
    "select slug, value, readings.updated_at > '2000-01-01' as fresh from readings join tenants on tenants.id = tenant_id"
  t.same((await as('a', fresh)).rows, Array(2).fill({ slug: 'a', value: 2, fresh: true }))
  t.same((await as('b', fresh)).rows, Array(2).fill({ slug: 'b', value: 1, fresh: false }))

  const chunks = 'select from timescaledb_information.chunks'
  t.equal((await query(url, chunks)).length, 2)
  t.equal((await migrator.migrateDown()).error, undefined)
  t.equal((await query(url, chunks)).length, 0)
  t.equal((await migrator.migrateToLatest()).error, undefined)
})
