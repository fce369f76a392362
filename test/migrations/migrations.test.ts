import { Kysely } from 'kysely'
import { NO_MIGRATIONS } from 'kysely/migration'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect, migrationState } from '../../src/migrations/migrator.ts'
import { configure, unstarted } from '../support/app.ts'
import { CATALOGS } from '../support/catalogs.ts'
import { copyProject, database, MIGRATIONS, migrationsFolder, query, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'

const OBSOLETE = "insert into kysely_migration values ('99981231000000_of_a_newer_image', '2026-12-31T00:00:00.000Z')"

t.test('boot applies what is pending, and logs each with its duration', async (t) => {
  const app = await unstarted(t, { DATABASE_URL: await database(t, { empty: true }) })
  await app.lifecycle.start()
  t.match(
    app.logs.filter(({ msg }) => msg === 'migrated'),
    MIGRATIONS.map((migration) => ({ migration, durationMs: Number })),
  )
})

for (const how of ['run', 'check']) {
  t.test(`MIGRATIONS=${how}, a database ahead of the code: a warning with the names, and ready`, async (t) => {
    const DATABASE_URL = await database(t)
    await query(DATABASE_URL, OBSOLETE)
    const app = await unstarted(t, { DATABASE_URL, MIGRATIONS: how })
    await app.lifecycle.start()
    t.match(
      app.logs.find(({ msg }) => msg === 'the database is ahead of this code'),
      { level: 40, unknown: ['99981231000000_of_a_newer_image'] },
    )
    t.match((await app.inject('/health/ready')).json(), { status: 'ready', checks: { migrations: 'passed' } })
    t.match((await app.inject('/health/db')).json(), { migrations: { applied: MIGRATIONS.length + 1, unknown: 1 } })
  })
}

t.test('MIGRATIONS=check: pending ones are an error, and nothing is applied', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  const pending = await unstarted(t, { DATABASE_URL, MIGRATIONS: 'check' })
  await t.rejects(pending.lifecycle.start(), {
    code: 'MIGRATION_FAILED',
    message: new RegExp(`^pending: ${MIGRATIONS.join(', ')} \\(looked as role .*, schema public, server .*\\)$`),
  })
  t.same(await query(DATABASE_URL, "select 1 from pg_tables where schemaname = 'public'"), [])

  const current = await unstarted(t, { MIGRATIONS: 'check' })
  await current.lifecycle.start()
  t.equal(current.lifecycle.phase, 'serving')
})

t.test('a migration that fails: named, rolled back, exit 1; the one before it stays', async (t) => {
  const directory = await copyProject(t, {
    'migrations/99990101000000_first.ts':
      "import { sql } from 'kysely'\nexport const up = (db) => sql`create table first ()`.execute(db)\n",
    'migrations/99990102000000_second.ts':
      "import { sql } from 'kysely'\nexport const up = (db) => sql`create table second (); create table first ()`.execute(db)\n",
  })
  const DATABASE_URL = await database(t)
  const service = new Service(t, { DATABASE_URL }, { source: directory })
  t.equal(await service.exited, 1)
  t.match(service.fatal, {
    level: 60,
    msg: 'cannot start',
    err: {
      message:
        '99990102000000_second failed and was rolled back: nothing of it is left; 1 applied before it stay applied',
      cause: { code: '42P07' },
    },
  })
  const left = "select tablename from pg_tables where tablename in ('first', 'second')"
  t.same(await query(DATABASE_URL, left), [{ tablename: 'first' }])
})

const running = (statement: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`${statement}\`.execute(db)
`

const LONG = `import { sql } from 'kysely'
export const up = async (db) => {
  await sql\`set local statement_timeout = 50\`.execute(db)
  await sql\`select pg_sleep(60)\`.execute(db)
}
`

t.test('what keeps the migrations from being run is said, and nothing of them is left', async (t) => {
  const name = 'is not named <UTC timestamp>_<what_it_does>.ts'
  const cases: [file: string, content: string, message: string][] = [
    [
      '99990101000000_misspelt.ts',
      'export const pu = 1',
      'migrations/99990101000000_misspelt.ts exports no function named up',
    ],
    ['99990101000000_broken.ts', 'this is none', 'migrations/99990101000000_broken.ts cannot be loaded'],
    ['99990101000000_other.mts', '', `migrations/99990101000000_other.mts ${name}`],
    ['helper.ts', '', `migrations/helper.ts ${name}`],
    [
      '99990101000000_wrong.ts',
      running('create table kysely_migration ()'),
      '99990101000000_wrong failed and was rolled back: nothing of it is left',
    ],
    // A right that it lacks is its failure, not that of the connection.
    [
      '99990101000000_right.ts',
      running("select pg_read_file('')"),
      '99990101000000_right failed and was rolled back: nothing of it is left',
    ],
    [
      '99990101000000_nothing.ts',
      'export const up = async () => { throw undefined }',
      '99990101000000_nothing failed and was rolled back: nothing of it is left',
    ],
    // A connection to a socket that is not there has the same code.
    [
      '99990101000000_reads.ts',
      "import { readFileSync } from 'node:fs'\nexport const up = async () => readFileSync('missing.sql')",
      '99990101000000_reads failed and was rolled back: nothing of it is left',
    ],
    ['99990101000000_long.ts', LONG, '99990101000000_long failed and was rolled back: nothing of it is left'],
    [
      '99990101000000_word.ts',
      running('select timeout'),
      '99990101000000_word failed and was rolled back: nothing of it is left',
    ],
  ]
  for (const [file, content, message] of cases) {
    const app = await unstarted(t, {}, { folder: migrationsFolder(t, { [file]: content }) })
    await t.rejects(app.lifecycle.start(), { code: 'MIGRATION_FAILED', message })
    t.equal((await app.inject('/health/ready')).json().checks.migrations, 'failed')
  }
})

t.test('a folder of migrations that is missing is told as that', async (t) => {
  const app = await unstarted(t, {}, { folder: '/does/not/exist' })
  await t.rejects(app.lifecycle.start(), {
    code: 'MIGRATION_FAILED',
    message: 'the folder migrations/ cannot be read',
    cause: { code: 'ENOENT' },
  })
})

t.test('a migration that is older than an applied one: the command that cures it, which does', async (t) => {
  const DATABASE_URL = await database(t)
  const [late, later] = [running('create table late ()'), running('create table later ()')]
  const start = async (files: Record<string, string>) =>
    (await unstarted(t, { DATABASE_URL }, { folder: migrationsFolder(t, files) })).lifecycle.start()
  await start({ '99990101000059_last.ts': running('create table last ()') })
  const last = { '99990101000059_last.ts': running('create table last ()') }
  await t.rejects(start({ ...last, '20200101000000_late.ts': late, '20200102000000_later.ts': later }), {
    code: 'MIGRATION_FAILED',
    message:
      '20200101000000_late, 20200102000000_later: older than 99990101000059_last, which is applied. Rename: ' +
      'mv migrations/20200101000000_late.ts migrations/99990101000060_late.ts && ' +
      'mv migrations/20200102000000_later.ts migrations/99990101000061_later.ts',
  })
  await start({ ...last, '99990101000060_late.ts': late, '99990101000061_later.ts': later })
  t.same(await query(DATABASE_URL, 'select from late, later'), [])
})

t.test('what the table of migrations must not hold keeps them from being run', async (t) => {
  const DATABASE_URL = await database(t)
  await query(DATABASE_URL, "update kysely_migration set timestamp = 'never'")
  const folder = migrationsFolder(t, { '99990101000000_new.ts': running('create table new ()') })
  const app = await unstarted(t, { DATABASE_URL }, { folder })
  await t.rejects(app.lifecycle.start(), {
    message: 'no migration was run',
    cause: { message: /invalid timestamp never/ },
  })
})

t.test('a migration without down is an error on the way down', async (t) => {
  const DATABASE_URL = await database(t)
  const config = await configure(t, { DATABASE_URL })
  const db = new Kysely<never>({ dialect: migrationDialect(config) })
  t.teardown(() => db.destroy())
  const up = migrationsFolder(t, { '99990101000000_one_way.ts': running('select') })
  const migrator = createMigrator(db, { folder: up, wayOut: 'Or make it anew' })
  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.match((await migrator.migrateDown()).error, {
    message: '99990101000000_one_way failed and was rolled back: nothing of it is left. Or make it anew',
    cause: { message: /99990101000000_one_way\.ts exports no function named down/ },
  })
  t.match(await migrationState(db, { folder: up }), { pending: [], applied: { length: MIGRATIONS.length + 1 } })
})

t.test('a table that is locked is waited for, without holding it up, and tried again', async (t) => {
  const DATABASE_URL = await database(t)
  await query(DATABASE_URL, 'create table busy ()')
  const app = await unstarted(
    t,
    { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '100' },
    { folder: migrationsFolder(t, { '99990101000000_alter.ts': running('alter table busy add column x int') }) },
  )
  const holder = await app.pg.connect()
  await holder.query('begin; select from busy')
  const started = app.lifecycle.start()
  await until(
    async () => app.logs.find(({ msg }) => msg.startsWith('a table is locked')),
    (line) => line !== undefined,
  )
  await app.pg.query('select from busy') // behind the migration, which would wait as long as the holder does
  await holder.query('rollback')
  holder.release()
  await started
  t.equal(app.lifecycle.phase, 'serving')
})

t.test('another replica migrates: readiness says so, and its lock is waited for', async (t) => {
  const app = await unstarted(
    t,
    {},
    { folder: migrationsFolder(t, { '99990101000000_new.ts': running('create table new ()') }) },
  )
  const holder = await app.pg.connect()
  await holder.query('select pg_advisory_lock(3853314791062309107)')
  const started = app.lifecycle.start()
  await until(
    async () => app.lifecycle.waitingFor,
    (what) => what === 'migration lock',
  )
  t.match((await app.inject('/health/ready')).json(), { status: 'not_ready', waitingFor: 'migration lock' })
  await holder.query('select pg_advisory_unlock_all()')
  holder.release()
  await started
  t.match((await app.inject('/health/ready')).json(), { status: 'ready' })
})

t.test('a connection that is lost in the middle of a migration is no failed migration', async (t) => {
  const once = `import { sql } from 'kysely'
export const up = async (db) => {
  await sql\`create table once ()\`.execute(db)
  if (globalThis.migrationTried) return
  globalThis.migrationTried = true
  await sql\`select pg_sleep(60)\`.execute(db)
}
`
  const app = await unstarted(t, {}, { folder: migrationsFolder(t, { '99990101000000_once.ts': once }) })
  const started = app.lifecycle.start()
  await until(
    async () =>
      (
        await app.pg.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)' and datname = current_database() and pid <> pg_backend_pid()",
        )
      ).rowCount,
    (terminated) => terminated === 1,
  )
  await started
  t.equal((await app.pg.query('select 1 from once')).rowCount, 0, 'rolled back, and applied on the second try')
})

t.test('a server that turns read-only in the middle of a migration is no failed migration', async (t) => {
  const once = `import { sql } from 'kysely'
export const up = async (db) => {
  if (!globalThis.readOnlyTried) await sql\`set transaction read only\`.execute(db)
  globalThis.readOnlyTried = true
  await sql\`create table written ()\`.execute(db)
}
`
  const app = await unstarted(t, {}, { folder: migrationsFolder(t, { '99990101000000_written.ts': once }) })
  await app.lifecycle.start()
  t.match(
    app.logs.find(({ msg }) => msg === 'waiting to migrate'),
    { reason: 'readonly' },
  )
  t.equal((await app.pg.query('select from written')).rowCount, 0, 'applied on the second try')
})

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
