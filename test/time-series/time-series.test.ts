import t, { type Test } from 'tap'
import { type App, build, unstarted } from '../support/app.ts'
import { database, query } from '../support/helper.ts'
import { CHUNKS, NOT_OFFERED, offersTimescaledb, offerTimescaledb, readings } from './timescaledb.ts'

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
    message: /^\d+_(time_series|squashed) failed and was rolled back/,
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

const offered = await offersTimescaledb()

t.test('elsewhere boot says so and goes on', { skip: offered && 'the server offers timescaledb' }, async (t) => {
  const app = await build(t, { DATABASE_URL: await database(t, { empty: true }) })
  t.same(notices(app), ['timescaledb is not available on this server: going on without it'])
})

const skip = !offered && NOT_OFFERED

t.test('docs: the table becomes a hypertable, and is gone on the way down', { skip }, async (t) => {
  const { url, migrator } = await readings(t, -1)
  await query(url, "insert into readings (taken_at, value) values ('2026-01-01', 1), ('2026-06-01', 1)")
  t.equal((await query(url, CHUNKS)).length, 2)
  t.equal((await migrator.migrateDown()).error, undefined)
  t.equal((await query(url, CHUNKS)).length, 0)
  t.equal((await migrator.migrateToLatest()).error, undefined)
})
