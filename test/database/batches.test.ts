import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import t, { type Test } from 'tap'
import { copyProject, database, query, ROOT, Service, until } from '../helper.ts'

const migration = (...statements: string[]) =>
  `import { sql } from 'kysely'
export const up = async (db) => { ${statements.map((sql) => `await sql\`${sql}\`.execute(db)`).join('; ')} }
export const down = async () => {}
`
const CONCURRENTLY = `${migration('create unique index concurrently tenants_name on tenants (name)')}
export const transaction = false
`
const INDEXES = "select indisvalid as valid from pg_index where indexrelid = to_regclass('tenants_name')"
const APPLIED = 'select substr(name, 16) as name from kysely_migration order by kysely_migration.name offset 1'

/** A migrated database, and a copy of the project with more migrations: one that opts out of the transaction, between two. */
async function project(t: Test) {
  const directory = await copyProject(t, {
    'migrations/20270101000000_before.ts': migration('create table before ()'),
    'migrations/20270102000000_index.ts': CONCURRENTLY,
    'migrations/20270103000000_after.ts': migration('create table if not exists after ()'),
  })
  return { directory, DATABASE_URL: await database(t) }
}

/** Runs the CLI in the copy; resolves to what it prints, whether it fails or not. */
async function kysely(directory: string, DATABASE_URL: string, ...args: string[]): Promise<string> {
  const env = {
    PATH: process.env['PATH'],
    CI: 'true',
    // kysely-ctl transpiles what it loads, and tap would take its lines for those of src.
    _TAPJS_PROCESSINFO_COVERAGE_: '0',
    MIGRATION_LOCK_TIMEOUT_MS: '100',
    DATABASE_URL,
  }
  const program = path.join(ROOT, 'node_modules/.bin/kysely')
  const { stdout, stderr } = await promisify(execFile)(program, args, { cwd: directory, env }).catch((err) => err)
  return stdout + stderr
}

const DUPLICATES = "insert into tenants (slug, name) values ('a', 'same'), ('b', 'same')"

t.test('boot: the migration that opts out runs outside of a transaction, between the others', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  const service = new Service(t, { DATABASE_URL }, directory)
  await service.logged('ready')
  t.same(await query(DATABASE_URL, INDEXES), [{ valid: true }])
  t.same(await query(DATABASE_URL, APPLIED), [{ name: 'before' }, { name: 'index' }, { name: 'after' }])
})

t.test('boot: one that fails is named, with the INVALID index that it left, and again on the next try', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  await query(DATABASE_URL, DUPLICATES)
  const failure = /INVALID, left by a try that was cut short: tenants_name\. DROP INDEX CONCURRENTLY/
  for (const run of [1, 2]) {
    const service = new Service(t, { DATABASE_URL }, directory)
    t.equal(await service.exited, 1)
    t.match(service.logs.at(-1), {
      err: { message: '20270102000000_index failed and was not rolled back', cause: { message: failure } },
    })
    t.same(await query(DATABASE_URL, INDEXES), [{ valid: false }], `run ${run}`)
    t.same(await query(DATABASE_URL, APPLIED), [{ name: 'before' }], 'what came before it is applied, nothing after')
  }
  await query(DATABASE_URL, 'drop index concurrently tenants_name')
  await query(DATABASE_URL, 'update tenants set name = slug')
  await new Service(t, { DATABASE_URL }, directory).logged('ready')
})

t.test('the CLI does the same: latest, up, down and all the way back', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  const run = (...args: string[]) => kysely(directory, DATABASE_URL, ...args)
  t.match(await run('migrate:up'), /Ran 1 migration/)
  t.same(await query(DATABASE_URL, APPLIED), [{ name: 'before' }])
  await query(DATABASE_URL, DUPLICATES)
  t.match(await run('migrate:latest'), /tenants_name\. DROP INDEX CONCURRENTLY/)
  await query(DATABASE_URL, 'drop index tenants_name')
  await query(DATABASE_URL, 'delete from tenants')
  t.match(await run('migrate:latest'), /Ran 2 migrations/)
  t.match(await run('migrate:down'), /Undone 1 migration/)
  t.match(await run('migrate:up', '20270103000000_after'), /Ran 1 migration/)
  t.match(await run('migrate:latest'), /no new migrations/)
  t.match(await run('migrate:rollback', '--all'), /Undone 4 migrations/)
  t.same(await query(DATABASE_URL, 'select name from kysely_migration'), [])
})

t.test('an index that is built while older transactions run is waited for, however long they take', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  const older = new pg.Client(DATABASE_URL)
  await older.connect()
  t.teardown(() => older.end())
  await older.query("begin; insert into tenants (slug, name) values ('a', 'A')")
  const service = new Service(t, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '50' }, directory)
  const building = () =>
    query(
      DATABASE_URL,
      "select from pg_stat_activity where query like 'create unique index%' and now() - query_start > '0.3 s'",
    )
  await until(building, ({ length }) => length === 1)
  await query(DATABASE_URL, "insert into tenants (slug, name) values ('b', 'B')")
  t.pass('which holds up no other')
  await older.query('commit')
  await service.logged('ready')
})

t.test('the CLI too tries again what a locked table kept out, and gives up after a bounded number', async (t) => {
  const directory = await copyProject(t, {
    'migrations/20270101000000_alter.ts': migration('alter table tenants add column x int'),
  })
  const DATABASE_URL = await database(t)
  const holder = new pg.Client(DATABASE_URL)
  await holder.connect()
  t.teardown(() => holder.end())
  await holder.query('begin; lock table tenants')
  const given = await kysely(directory, DATABASE_URL, 'migrate:latest')
  t.equal(given.match(/a table is locked: 20270101000000_alter rolled back, trying again/g)?.length, 4)
  t.match(given, /A table stayed locked, 5 times/)
  const service = new Service(t, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '50' }, directory)
  t.equal(await service.exited, 1, 'boot gives up too')
  await holder.query('rollback')
  t.match(await kysely(directory, DATABASE_URL, 'migrate:latest'), /Ran 1 migration/)
})

t.test('the CLI says that it waits for the lock of another process', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  const holder = new pg.Client(DATABASE_URL)
  await holder.connect()
  t.teardown(() => holder.end())
  await holder.query('select pg_advisory_lock(3853314791062309107)')
  const waiting = kysely(directory, DATABASE_URL, 'migrate:latest')
  await until(
    () =>
      query(
        DATABASE_URL,
        // Idle: its first try was answered, with no.
        "select from pg_stat_activity where query like '%pg_try_advisory_lock%' and state = 'idle' and datname = current_database()",
      ),
    ({ length }) => length === 1,
  )
  await holder.query('select pg_advisory_unlock_all()')
  t.match(await waiting, /Ran 3 migrations[\s\S]*another process migrates: waiting for its lock/)
})

t.test('migrate:list shows applied, pending and unknown ones', async (t) => {
  const { directory, DATABASE_URL } = await project(t)
  await query(DATABASE_URL, "insert into kysely_migration values ('20261231000000_newer', '2026-12-31T00:00:00.000Z')")
  const list = await kysely(directory, DATABASE_URL, 'migrate:list')
  t.match(list, /✓.* 20261101000000_base_structure/)
  t.match(list, /\[ \] 20270101000000_before/)
  t.match(list, /✓.* 20261231000000_newer \(unknown: no such file\)/)
})
