import t from 'tap'
import { copyProject, database, query, Service, unstarted } from '../helper.ts'

const OBSOLETE = "insert into kysely_migration values ('20261231000000_of_a_newer_image', '2026-12-31T00:00:00.000Z')"

t.test('boot applies what is pending, and logs each with its duration', async (t) => {
  const app = await unstarted(t, { DATABASE_URL: await database(t, { empty: true }) })
  await app.lifecycle.start()
  t.match(
    app.logs.filter(({ msg }) => msg === 'migrated'),
    [{ migration: '20261101000000_base_structure', durationMs: Number }],
  )
})

t.test('nothing pending: no lock is taken and nothing is written', async (t) => {
  const DATABASE_URL = await database(t)
  // Were the lock asked for, boot would wait for this session.
  const app = await unstarted(t, { DATABASE_URL })
  const holder = await app.pg.connect()
  await holder.query('select pg_advisory_lock(3853314791062309107)')
  await app.lifecycle.start()
  await holder.query('select pg_advisory_unlock_all()')
  holder.release()
  t.equal(app.lifecycle.phase, 'serving')
})

t.test('a database ahead of the code: a warning with the names, and ready', async (t) => {
  const DATABASE_URL = await database(t)
  await query(DATABASE_URL, OBSOLETE)
  const app = await unstarted(t, { DATABASE_URL })
  await app.lifecycle.start()
  t.match(
    app.logs.find(({ msg }) => msg === 'the database is ahead of this code'),
    { level: 40, unknown: ['20261231000000_of_a_newer_image'] },
  )
  t.match((await app.inject('/health/db')).json(), { migrations: { applied: 2, unknown: 1 } })
})

t.test('MIGRATIONS=check: pending or unknown ones are an error, and nothing is applied', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  const pending = await unstarted(t, { DATABASE_URL, MIGRATIONS: 'check' })
  await t.rejects(pending.lifecycle.start(), {
    code: 'MIGRATION_FAILED',
    message: 'pending: 20261101000000_base_structure; unknown: none',
  })
  t.same(await query(DATABASE_URL, "select 1 from pg_tables where schemaname = 'public'"), [])

  const ahead = await database(t)
  await query(ahead, OBSOLETE)
  const unknown = await unstarted(t, { DATABASE_URL: ahead, MIGRATIONS: 'check' })
  await t.rejects(unknown.lifecycle.start(), /unknown: 20261231000000_of_a_newer_image/)

  const current = await unstarted(t, { MIGRATIONS: 'check' })
  await current.lifecycle.start()
  t.equal(current.lifecycle.phase, 'serving')
})

t.test('a migration that fails: named, rolled back with its batch, exit 1', async (t) => {
  const directory = await copyProject(t, {
    'migrations/20270101000000_first.ts':
      "import { sql } from 'kysely'\nexport const up = (db) => sql`create table first ()`.execute(db)\n",
    'migrations/20270102000000_second.ts':
      "import { sql } from 'kysely'\nexport const up = (db) => sql`create table first ()`.execute(db)\n",
  })
  const DATABASE_URL = await database(t)
  const service = new Service(t, { DATABASE_URL }, directory)
  t.equal(await service.exited, 1)
  t.match(service.fatal, {
    level: 60,
    msg: 'cannot start',
    err: { message: '20270102000000_second failed and was rolled back', cause: { code: '42P07' } },
  })
  t.same(await query(DATABASE_URL, "select 1 from pg_tables where tablename = 'first'"), [])
})

t.test('a file that cannot be a migration, or comes too late, is an error', async (t) => {
  const wrong: [string, string, RegExp][] = [
    [
      '20270101000000_misspelt.ts',
      'export const pu = () => {}',
      /20270101000000_misspelt\.ts exports no function named up/,
    ],
    ['20200101000000_late.ts', 'export const up = async () => {}', /20200101000000_late/],
  ]
  for (const [name, content, message] of wrong) {
    const directory = await copyProject(t, { [`migrations/${name}`]: content })
    const service = new Service(t, { DATABASE_URL: await database(t) }, directory)
    t.equal(await service.exited, 1)
    t.match(JSON.stringify(service.fatal), message)
  }
})

t.test('a table that is locked is waited for, without holding it up, and tried again', async (t) => {
  const directory = await copyProject(t, {
    'migrations/20270101000000_alter.ts':
      "import { sql } from 'kysely'\nexport const up = (db) => sql`alter table tenants add column x int`.execute(db)\n",
  })
  const DATABASE_URL = await database(t)
  const app = await unstarted(t, { DATABASE_URL })
  const holder = await app.pg.connect()
  await holder.query('begin; lock table tenants')
  const service = new Service(t, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '100' }, directory)
  t.match(await service.logged('a table is locked'), { migration: '20270101000000_alter', attempt: 1 })
  await holder.query('rollback')
  holder.release()
  await service.logged('ready')
})
