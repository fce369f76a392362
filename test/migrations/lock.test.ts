import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kysely } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import type { MigrationOptions } from '../../src/migrations/options.ts'
import { configure, unstarted } from '../support/app.ts'
import { copyProject, database, query, ROOT } from '../support/helper.ts'
import { Service } from '../support/process.ts'

/** What the README and the error tell to do about a process that holds the lock and migrates nothing. */
const END_HOLDER = `
  select pg_terminate_backend(pid) from pg_locks
   where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`

/** A session that holds the lock, as another process that migrates does, or one that hangs. */
async function hold(t: Test, url: string): Promise<void> {
  const holder = new pg.Client(url)
  holder.on('error', () => {})
  await holder.connect()
  t.teardown(() => holder.end())
  await holder.query('select pg_advisory_lock(3853314791062309107)')
}

/** The migrator on an empty database whose lock somebody holds. */
async function locked(t: Test, options: MigrationOptions) {
  const url = await database(t, { empty: true })
  await hold(t, url)
  const dialect = migrationDialect(await configure(t, { DATABASE_URL: url }), options)
  const db = new Kysely<never>({ dialect })
  t.teardown(() => db.destroy())
  return { url, migrator: createMigrator(db, options) }
}

t.test('the wait for another process ends, with an error that says what to do, and that does it', async (t) => {
  let waiting = 0
  const { url, migrator } = await locked(t, { waiting: () => waiting++, lockWaitMs: 100 })
  t.match((await migrator.migrateToLatest()).error, {
    message:
      /has held the migration lock for 100 ms\. If none migrates: pg_locks.*'advisory', for pg_terminate_backend/,
  })
  t.equal(waiting, 1, 'said once')
  t.equal((await query(url, END_HOLDER)).length, 1)
  t.equal((await migrator.migrateToLatest()).error, undefined)
})

t.test('the wait ends when the process leaves', async (t) => {
  const leaving = new AbortController()
  const waiting = () => setImmediate(() => leaving.abort())
  const { migrator } = await locked(t, { waiting, signal: leaving.signal })
  t.match((await migrator.migrateToLatest()).error, { name: 'AbortError' }, 'at once, not at the next try')
})

t.test('boot: past the bound of the wait the process exits 1', async (t) => {
  const file = 'src/migrations/lock.ts'
  const source = readFileSync(path.join(ROOT, file), 'utf8')
  const directory = await copyProject(t, { [file]: source.replace('= 10 * 60_000', '= 100') })
  const DATABASE_URL = await database(t, { empty: true })
  await hold(t, DATABASE_URL)
  const service = new Service(t, { DATABASE_URL }, { source: directory })
  t.equal(await service.exited, 1)
  t.match(service.fatal, {
    msg: 'cannot start',
    err: { message: 'no migration was run', cause: { message: /has held the migration lock for 100 ms/ } },
  })
})

t.test('boot: SIGTERM while it waits for the lock, exit 0', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  await hold(t, DATABASE_URL)
  const service = new Service(t, { DATABASE_URL })
  await service.logged('another process migrates')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.equal(service.fatal, undefined)
})

t.test('32 replicas that boot with nothing pending ask for no lock and write nothing', async (t) => {
  // A server where nobody else writes: every write of anything takes the next transaction id.
  const postgres = await startPostgres({ settings: { autovacuum: 'off' } })
  t.teardown(() => postgres.close())
  const DATABASE_URL = postgres.url
  await (await unstarted(t, { DATABASE_URL })).lifecycle.start()
  // Whoever asked for the lock would wait for this session, for longer than the test may take.
  await hold(t, DATABASE_URL)
  const replicas = await Promise.all(Array.from({ length: 32 }, () => unstarted(t, { DATABASE_URL })))
  const next = 'select pg_snapshot_xmax(pg_current_snapshot())::text as id'
  const before = await query(DATABASE_URL, next)
  await Promise.all(replicas.map(({ lifecycle }) => lifecycle.start()))
  t.same(await query(DATABASE_URL, next), before)
  t.ok(replicas.every(({ lifecycle }) => lifecycle.phase === 'serving'))
})
