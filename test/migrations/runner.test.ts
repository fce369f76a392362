import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { sql } from 'kysely'
import { NO_MIGRATIONS } from 'kysely/migration'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { unstarted } from '../support/app.ts'
import { copyProject, database, MIGRATIONS, migrationsFolder, query, ROOT, until } from '../support/helper.ts'
import { open } from './open.ts'

const migration = (...statements: string[]) =>
  `import { sql } from 'kysely'
export const up = async (db) => { ${statements.map((statement) => `await sql\`${statement}\`.execute(db)`).join('; ')} }
export const down = async () => {}
`
const CONCURRENTLY = `${migration('create unique index concurrently members_name on members (name)')}
export const transaction = false
`
const INDEXES = "select indisvalid as valid from pg_index where indexrelid = to_regclass('members_name')"
const APPLIED = `select substr(name, 16) as name from kysely_migration order by kysely_migration.name offset ${MIGRATIONS.length}`

const FILES = {
  '99990101000000_before.ts': migration('create table before ()'),
  '99990102000000_index.ts': CONCURRENTLY,
  '99990103000000_after.ts': migration('create table if not exists after ()'),
}

/** A migrated database, with a table of the test's own. */
async function withMembers(t: Test): Promise<string> {
  const url = await database(t)
  await query(url, 'create table members (slug text, name text)')
  return url
}

/** More migrations than the database has: one that opts out of the transaction, between two. */
async function pending(t: Test) {
  return { folder: migrationsFolder(t, FILES), DATABASE_URL: await withMembers(t) }
}

/** The same for the CLI, which finds migrations in its project's folder: a copy of the project. */
async function project(t: Test, files: Record<string, string> = FILES) {
  const paths = Object.entries(files).map(([name, content]) => [`migrations/${name}`, content])
  return { directory: await copyProject(t, Object.fromEntries(paths)), DATABASE_URL: await withMembers(t) }
}

async function boot(t: Test, folder: string, variables: NodeJS.ProcessEnv): Promise<void> {
  const app = await unstarted(t, variables, { folder })
  await app.lifecycle.start()
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

const DUPLICATES = "insert into members (slug, name) values ('a', 'same'), ('b', 'same')"

t.test('boot: the migration that opts out runs outside of a transaction, between the others', async (t) => {
  const { folder, DATABASE_URL } = await pending(t)
  await boot(t, folder, { DATABASE_URL })
  t.same(await query(DATABASE_URL, INDEXES), [{ valid: true }])
  t.same(await query(DATABASE_URL, APPLIED), [{ name: 'before' }, { name: 'index' }, { name: 'after' }])
})

t.test('boot: one that fails is named, with the INVALID index that it left, and again on the next try', async (t) => {
  const { folder, DATABASE_URL } = await pending(t)
  await query(DATABASE_URL, DUPLICATES)
  const failure = /INVALID, left by a try that was cut short: members_name\. DROP INDEX CONCURRENTLY/
  for (const run of [1, 2]) {
    await t.rejects(boot(t, folder, { DATABASE_URL }), {
      message: /^99990102000000_index failed and was not rolled back/,
      cause: { message: failure },
    })
    t.same(await query(DATABASE_URL, INDEXES), [{ valid: false }], `run ${run}`)
    t.same(await query(DATABASE_URL, APPLIED), [{ name: 'before' }], 'what came before it is applied, nothing after')
  }
  await query(DATABASE_URL, 'drop index concurrently members_name')
  await query(DATABASE_URL, 'update members set name = slug')
  await boot(t, folder, { DATABASE_URL })
  t.same(await query(DATABASE_URL, INDEXES), [{ valid: true }])
})

t.test('one that opts out and leaves no index behind says what failed', async (t) => {
  for (const statements of [['vacuum nothing'], ['begin', 'lock nothing']]) {
    const folder = migrationsFolder(t, {
      '99990101000000_vacuum.ts': `${migration(...statements)}\nexport const transaction = false`,
    })
    await t.rejects(boot(t, folder, { DATABASE_URL: await database(t) }), {
      message: '99990101000000_vacuum failed and was not rolled back',
      cause: { message: 'relation "nothing" does not exist' },
    })
  }
})

t.test('list, up, latest, to a name, down, and all the way back', async (t) => {
  const { folder, DATABASE_URL } = await pending(t)
  const { migrator, names } = await open(t, DATABASE_URL, folder)
  await query(DATABASE_URL, "insert into kysely_migration values ('99981231000000_newer', '2026-12-31T00:00:00.000Z')")
  t.match(await migrator.getMigrations(), [
    ...MIGRATIONS.map((name) => ({ name, executedAt: Date })),
    ...Object.keys(FILES).map((file) => ({ name: file.slice(0, -3), executedAt: undefined })),
    { name: '99981231000000_newer (unknown: no such file)', executedAt: Date },
  ])
  await t.rejects(
    names(migrator.migrateDown()),
    /with no file here: 99981231000000_newer/,
    'what has no file here cannot be undone',
  )
  await query(DATABASE_URL, "delete from kysely_migration where name = '99981231000000_newer'")
  t.same(await names(migrator.migrateUp()), ['Up before'])
  t.same(await names(migrator.migrateToLatest()), ['Up index', 'Up after'])
  t.same(await names(migrator.migrateDown()), ['Down after'])
  t.same(await names(migrator.migrateTo('99990103000000_after')), ['Up after'])
  t.same(await names(migrator.migrateTo('99990101000000_before')), ['Down after', 'Down index'])
  await t.rejects(names(migrator.migrateTo('99990104000000_other')), {
    message: 'There is no migration 99990104000000_other',
  })
  t.same(await names(migrator.migrateTo(NO_MIGRATIONS)), [
    'Down before',
    ...MIGRATIONS.toReversed().map((name) => `Down ${name.slice(15)}`),
  ])
  t.same(await query(DATABASE_URL, 'select name from kysely_migration'), [])
})

t.test('what an earlier release has done under another name is recorded in its place, and not run', async (t) => {
  const DATABASE_URL = await database(t)
  const there = (answer: boolean) => `\nexport const isApplied = async () => ${answer}\n`
  const later = { '99990103000000_later.ts': migration('create table later ()') }
  await boot(t, migrationsFolder(t, later), { DATABASE_URL })
  const split = {
    ...later,
    '99990101000000_split.ts': migration('create table later ()') + there(true),
    '99990104000000_new.ts': migration('create table new ()') + there(false),
  }
  await boot(t, migrationsFolder(t, split), { DATABASE_URL })
  const names = `select substr(name, 16) as name from kysely_migration order by timestamp, kysely_migration.name offset ${MIGRATIONS.length}`
  t.same(await query(DATABASE_URL, names), [{ name: 'split' }, { name: 'later' }, { name: 'new' }])
})

/** What a release has before it squashes, and after: each in a folder of its own. */
const PARTS = {
  '20260101000000_one.ts': migration('create table one ()'),
  '20260102000000_two.ts': migration('create table two ()'),
}
const SQUASHED = '20260102000000_squashed'
const squashed = (replaces = ['20260101000000_one', '20260102000000_two'], name = SQUASHED) => ({
  [`${name}.ts`]: `${migration('create table one (); create table two ()')}export const replaces = ${JSON.stringify(replaces)}\n`,
})
const LATER = { '20260103000000_later.ts': migration('create table if not exists later ()') }
let folders = 0
/** A folder of these alone. Each has a path of its own, because a module is loaded once. */
function own(t: Test, files: Record<string, string>): string {
  const name = `own-${++folders}`
  return path.join(t.testdir({ [name]: files }), name)
}

t.test('squashed: recorded in the place of its parts where all are applied, run in an empty database', async (t) => {
  for (const files of [PARTS, { ...PARTS, ...LATER }, {}]) {
    const DATABASE_URL = await database(t, { empty: true })
    await boot(t, own(t, files), { DATABASE_URL })
    const { error } = await (
      await open(t, DATABASE_URL, own(t, { ...squashed(), ...LATER }))
    ).migrator.migrateToLatest()
    t.equal(error, undefined)
    const names = 'select name from kysely_migration order by timestamp, kysely_migration.name'
    t.same(await query(DATABASE_URL, names), [{ name: SQUASHED }, { name: '20260103000000_later' }])
    t.same(await query(DATABASE_URL, 'select from one, two, later'), [])
  }
})

t.test('squashed: a database that has some of its parts hears which release is to migrate it first', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  const [one] = Object.entries(PARTS) as [[string, string]]
  await boot(t, own(t, Object.fromEntries([one])), { DATABASE_URL })
  await t.rejects(boot(t, own(t, squashed()), { DATABASE_URL }), {
    code: 'MIGRATION_FAILED',
    message:
      /lacks 20260102000000_two\..*git log -1 --diff-filter=D --format=%h~ -- migrations\/20260102000000_two\.ts/,
  })
  t.same(await query(DATABASE_URL, 'select name from kysely_migration'), [{ name: '20260101000000_one' }])
})

t.test('squashed: the release before boots with a warning, and its CLI has nothing to do', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  await boot(t, own(t, squashed()), { DATABASE_URL })
  const before = own(t, PARTS)
  for (const MIGRATIONS of ['run', 'check']) {
    const app = await unstarted(t, { DATABASE_URL, MIGRATIONS }, { folder: before })
    await app.lifecycle.start()
    t.match(
      app.logs.find(({ msg }) => msg === 'the database is ahead of this code'),
      { unknown: [SQUASHED] },
    )
  }
  const { migrator, names } = await open(t, DATABASE_URL, before)
  t.same(await names(migrator.migrateToLatest()), [])
  const more = own(t, { ...PARTS, ...LATER })
  await t.rejects(boot(t, more, { DATABASE_URL }), { message: /with no file here: 20260102000000_squashed/ })
})

t.test('squashed: a file whose name or neighbours would mislead is refused', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  const cases: [files: Record<string, string>, message: RegExp][] = [
    [
      squashed(undefined, '20260102000000_all'),
      /: mv migrations\/20260102000000_all.ts migrations\/20260102000000_squashed.ts$/,
    ],
    [squashed(undefined, '20260105000000_squashed'), /: mv .* migrations\/20260102000000_squashed.ts$/],
    [
      { ...squashed(), '20260101000001_late.ts': migration() },
      /^20260101000001_late: older than 20260102000000_squashed, .*: mv /,
    ],
    [{ ...squashed(), ...PARTS }, /: rm migrations\/20260101000000_one.ts migrations\/20260102000000_two.ts$/],
  ]
  for (const [files, message] of cases) {
    await t.rejects(boot(t, own(t, files), { DATABASE_URL }), { code: 'MIGRATION_FAILED', message })
  }
})

t.test('a file that is older than an applied one does not keep that from being undone', async (t) => {
  const DATABASE_URL = await database(t, { empty: true })
  await boot(t, own(t, LATER), { DATABASE_URL })
  const { migrator, names } = await open(t, DATABASE_URL, own(t, { ...PARTS, ...LATER }))
  await t.rejects(names(migrator.migrateToLatest()), { message: /older than 20260103000000_later.*Rename: mv/ })
  t.same(await names(migrator.migrateDown()), ['Down later'])
  t.same(await names(migrator.migrateToLatest()), ['Up one', 'Up two', 'Up later'])
})

t.test('one that cannot tell whether it is applied is named', async (t) => {
  for (const thrown of ["new Error('of its own')", 'undefined']) {
    const file = `${migration('create table untold ()')}\nexport const isApplied = async () => { throw ${thrown} }\n`
    const folder = migrationsFolder(t, { '99990101000000_untold.ts': file })
    await t.rejects(boot(t, folder, { DATABASE_URL: await database(t) }), {
      code: 'MIGRATION_FAILED',
      message: 'migrations/99990101000000_untold.ts cannot tell whether it is applied',
    })
  }
})

t.test('an INVALID index that is not its own, or that somebody builds, holds up no migration', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  for (const role of ['owner', 'member', 'other']) {
    await query(postgres.url, `create role ${role} login password 'secret'`)
  }
  await query(postgres.url, 'create database app owner owner')
  const superuser = Object.assign(new URL(postgres.url), { pathname: '/app' }).href
  const as = (username: string) => Object.assign(new URL(superuser), { username, password: 'secret' }).href
  await query(superuser, 'grant owner to member; create schema others authorization other')
  const files: Record<string, string> = {}
  const migrate = (url: string, name: string, statement: string) => {
    const content = `${migration(statement)}\nexport const transaction = false\n`
    files[`9999010${Object.keys(files).length}000000_${name}.ts`] = content
    return boot(t, migrationsFolder(t, files), { DATABASE_URL: url })
  }
  await query(as('owner'), "create table apart (); create table members (name text); insert into members values ('a')")

  await query(as('other'), 'create table others.things as select 1 as id from generate_series(1, 2)')
  const invalid = query(as('other'), 'create unique index concurrently on others.things (id)')
  await t.rejects(invalid, { code: '23505' })
  await migrate(as('owner'), 'owner', 'vacuum apart')
  await migrate(superuser, 'superuser', 'vacuum apart')

  const older = new pg.Client(as('owner'))
  await older.connect()
  t.teardown(() => older.end())
  await older.query("begin; insert into members values ('a')")
  const built = query(superuser, 'create index concurrently building on members (name)')
  await until(
    () => query(superuser, "select from pg_index where indexrelid = to_regclass('building') and not indisvalid"),
    ({ length }) => length === 1,
  )
  await migrate(as('owner'), 'while_one_is_built', 'vacuum apart')
  await older.query('commit')
  await built

  const failure = { message: /not rolled back/, cause: { message: /cut short: members_name\./ } }
  await t.rejects(
    migrate(as('member'), 'member', 'create unique index concurrently members_name on members (name)'),
    failure,
  )
  t.pass("the index is the owner's, and its rights are the member's")
})

t.test('an index that is built while older transactions run is waited for, however long they take', async (t) => {
  const { folder, DATABASE_URL } = await pending(t)
  const older = new pg.Client(DATABASE_URL)
  await older.connect()
  t.teardown(() => older.end())
  await older.query("begin; insert into members (slug, name) values ('a', 'A')")
  const booted = boot(t, folder, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '50' })
  const building = () =>
    query(
      DATABASE_URL,
      "select from pg_stat_activity where query like 'create unique index%' and now() - query_start > '0.3 s'",
    )
  await until(building, ({ length }) => length === 1)
  await query(DATABASE_URL, "insert into members (slug, name) values ('b', 'B')")
  t.pass('which holds up no other')
  await older.query('commit')
  await booted
})

t.test('an enum value that the next file uses: one by one, and all at once, up and down', async (t) => {
  const DATABASE_URL = await database(t)
  await query(DATABASE_URL, "create type state as enum ('open'); create table states (state state)")
  const folder = migrationsFolder(t, {
    '99990101000000_add.ts': migration("alter type state add value if not exists 'closed'"),
    '99990102000000_use.ts': `import { sql } from 'kysely'
export const up = (db) => sql\`insert into states values ('closed')\`.execute(db)
export const down = (db) => sql\`delete from states where state = 'closed'\`.execute(db)
`,
  })
  const { migrator, names } = await open(t, DATABASE_URL, folder)
  t.same(await names(migrator.migrateToLatest()), ['Up add', 'Up use'])
  t.same(await names(migrator.migrateTo(MIGRATIONS.at(-1) as string)), ['Down use', 'Down add'])
  t.same(await query(DATABASE_URL, 'select from states'), [])
  for (const step of ['Up add', 'Up use']) t.same(await names(migrator.migrateUp()), [step])
  t.same(await query(DATABASE_URL, 'select state from states'), [{ state: 'closed' }])
  for (const step of ['Down use', 'Down add']) t.same(await names(migrator.migrateDown()), [step])
})

t.test('what one leaves in its session is taken back: all at once goes as one by one', async (t) => {
  const folder = migrationsFolder(t, {
    '99990101000000_dump.ts': migration(
      "select set_config('search_path', '', false), set_config('app.tenant_id', 'one', false)",
      'create temporary table scratch ()',
    ),
    '99990102000000_index.ts': `${migration('create index concurrently on members (name)', "set lock_timeout = '1h'; set search_path = ''")}
export const transaction = false
`,
    '99990103000000_after.ts': migration(
      `create table after as select current_setting('lock_timeout') as wait,
         current_setting('app.tenant_id', true) as tenant, current_setting('row_security') as row_security`,
      'create temporary table scratch ()',
    ),
  })
  const DATABASE_URL = await withMembers(t)
  const { db, migrator, names } = await open(t, DATABASE_URL, folder)
  t.same(await names(migrator.migrateToLatest()), ['Up dump', 'Up index', 'Up after'])
  t.match(await query(DATABASE_URL, 'select * from after'), [{ wait: '5s', tenant: '', row_security: 'off' }])
  t.match((await sql`show row_security`.execute(db)).rows, [{ row_security: 'on' }])
})

t.test('one that fails is named and rolled back, and those before it stay as they went, up and down', async (t) => {
  const DATABASE_URL = await database(t)
  const folder = migrationsFolder(t, {
    '99990101000000_one_way.ts': `import { sql } from 'kysely'
export const up = (db) => sql\`select\`.execute(db)
export const down = async (db) => {
  await sql\`create table gone ()\`.execute(db)
  throw new Error('one way')
}
`,
    '99990102000000_first.ts': migration('create table if not exists first ()'),
    '99990103000000_second.ts': migration('create table second ()', 'create table first ()'),
    '99990104000000_third.ts': migration('create table third ()'),
  })
  const { migrator } = await open(t, DATABASE_URL, folder)
  const tables = "select relname from pg_class where relname in ('first', 'second', 'third', 'gone')"
  t.match(await migrator.migrateToLatest(), {
    error: {
      message:
        '99990103000000_second failed and was rolled back: nothing of it is left; 2 applied before it stay applied',
      cause: { code: '42P07' },
    },
    results: ['Success', 'Success', 'Error', 'NotExecuted'].map((status) => ({ direction: 'Up', status })),
  })
  t.match(await migrator.migrateTo(NO_MIGRATIONS), {
    error: {
      message:
        '99990101000000_one_way failed and was rolled back: nothing of it is left; 1 undone before it stay undone',
      cause: { message: 'one way' },
    },
    results: { 0: { direction: 'Down', status: 'Success' }, 1: { status: 'Error' }, 2: { status: 'NotExecuted' } },
  })
  t.same(await query(DATABASE_URL, tables), [{ relname: 'first' }])
  t.same(await query(DATABASE_URL, APPLIED), [{ name: 'one_way' }])
})

t.test('what row-level security would keep from rows fails, up and down, and says what to do', async (t) => {
  const DATABASE_URL = await withMembers(t)
  await query(DATABASE_URL, "insert into members (slug) values ('a'), ('b')")
  await query(DATABASE_URL, 'create table slugs (slug text primary key)')
  await query(DATABASE_URL, 'alter table members enable row level security, force row level security')
  const statements = {
    update: 'update members set name = slug',
    copy: 'create table copy as select * from members; drop table members; alter table copy rename to members',
    key: 'alter table members add foreign key (slug) references slugs',
  }
  const failure = (name: string, left: string) => ({
    message: `99990101000000_${name} failed and was ${left}`,
    cause: {
      message: /^query would .* table "members"\. Its owner sees all rows between .*no force/,
      cause: Object,
    },
  })
  for (const [name, statement] of Object.entries(statements)) {
    await query(DATABASE_URL, `begin; ${statement}; rollback`)
    t.pass('it passes elsewhere, over no row')
    for (const [transaction, left] of [
      [true, 'rolled back: nothing of it is left'],
      [false, 'not rolled back'],
    ] as const) {
      const file = `${name}_${transaction}` // a name of its own: Node.js imports each path once
      const content = `${migration(statement)}\nexport const transaction = ${transaction}\n`
      const folder = migrationsFolder(t, { [`99990101000000_${file}.ts`]: content })
      const { db, migrator } = await open(t, DATABASE_URL, folder)
      t.match((await migrator.migrateToLatest()).error, failure(file, left))
      const session = sql<{
        rows: string
        lock: string
      }>`select current_setting('row_security') as rows, current_setting('lock_timeout') as lock`
      t.same((await session.execute(db)).rows, [{ rows: 'on', lock: '5s' }], 'the session is as it was')
    }
  }
  const down = `import { sql } from 'kysely'
export const up = (db) => sql\`select\`.execute(db)
export const down = (db) => sql\`delete from members\`.execute(db)
`
  const { migrator } = await open(t, DATABASE_URL, migrationsFolder(t, { '99990101000000_down.ts': down }))
  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.match((await migrator.migrateDown()).error, failure('down', 'rolled back: nothing of it is left'))
  await query(DATABASE_URL, 'alter table members no force row level security')
  t.same(await query(DATABASE_URL, 'select * from members'), [
    { slug: 'a', name: null },
    { slug: 'b', name: null },
  ])
})

t.test('one whose deferred constraint fails is named: COMMIT would say not whose it is', async (t) => {
  const statement = 'create table deferred (id int unique deferrable initially deferred)'
  const folder = migrationsFolder(t, {
    '99990101000000_deferred.ts': migration(statement, 'insert into deferred values (1), (1)'),
  })
  await t.rejects(boot(t, folder, { DATABASE_URL: await database(t) }), {
    message: '99990101000000_deferred failed and was rolled back: nothing of it is left',
    cause: { code: '23505' },
  })
})

t.test('what a locked table kept out is tried again, a bounded number of times', async (t) => {
  const files = {
    '99990101000000_before.ts': migration('create table before ()'),
    '99990102000000_alter.ts': migration('alter table members add column x int'),
  }
  const { directory, DATABASE_URL } = await project(t, files)
  const holder = new pg.Client(DATABASE_URL)
  await holder.connect()
  t.teardown(() => holder.end())
  await holder.query('begin; lock table members')
  const given = await kysely(directory, DATABASE_URL, 'migrate:latest')
  t.equal(given.match(/a table is locked: 99990102000000_alter rolled back, trying again/g)?.length, 4)
  t.match(given, /99990102000000_alter failed and was rolled back.*1 applied before it stay applied/)
  t.match(given, /A table stayed locked, 5 times/)
  const folder = migrationsFolder(t, files)
  await t.rejects(boot(t, folder, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '50' }), {
    message: '99990102000000_alter failed and was rolled back: nothing of it is left',
    cause: { message: 'A table stayed locked, 5 times' },
  })
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
  await query(DATABASE_URL, "insert into kysely_migration values ('99981231000000_newer', '2026-12-31T00:00:00.000Z')")
  const list = await kysely(directory, DATABASE_URL, 'migrate:list')
  t.match(list, new RegExp(`✓.* ${MIGRATIONS[0]}`))
  t.match(list, /\[ \] 99990101000000_before/)
  t.match(list, /✓.* 99981231000000_newer \(unknown: no such file\)/)
})
