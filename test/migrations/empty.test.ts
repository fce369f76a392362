import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Kysely } from 'kysely'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect, migrationState } from '../../src/migrations/migrator.ts'
import { configure, unstarted } from '../support/app.ts'
import { copyProject, database, MIGRATIONS, migrationsFolder, query, shell } from '../support/helper.ts'
import { Service } from '../support/process.ts'

const making = (table: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`create table \${sql.id('${table}')} ()\`.execute(db)
`
/** What `migrate:make` makes. */
const EMPTY = 'export async function up(db) {}\nexport async function down(db) {}\n'
const EMPTY_NAME = '99990102000000_empty'
const FILES = {
  '99990101000000_before.ts': making('before'),
  [`${EMPTY_NAME}.ts`]: EMPTY,
  '99990103000000_after.ts': making('after'),
}
const TABLES = "select relname as name from pg_class where relname in ('before', 'after', 'written') order by 1"

async function open(t: Test, DATABASE_URL: string, files: Record<string, string>, notices: unknown[] = []) {
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL })) })
  t.teardown(() => db.destroy())
  const folder = migrationsFolder(t, files)
  return {
    migrator: createMigrator(db, { folder, notice: (notice) => notices.push(notice) }),
    state: () => migrationState(db, { folder }),
  }
}

t.test('a new file of migrate:make is not applied, and is once it is written; down undoes it', async (t) => {
  const directory = await copyProject(t)
  const DATABASE_URL = await database(t)
  const kysely = (...args: string[]) => shell('kysely', args, { DATABASE_URL }, directory)
  await kysely('migrate:make', 'written')
  const names = await readdir(path.join(directory, 'migrations'))
  const made = names.find((name) => name.endsWith('_written.ts')) as string
  // The last one, also of a service whose own migrations have a later time than now.
  const file = 'migrations/99990101000000_written.ts'
  await rename(path.join(directory, 'migrations', made), path.join(directory, file))

  const failure = await kysely('migrate:latest').then(
    (output) => t.fail(output),
    (err) => err,
  )
  t.match(failure, { code: 1 })
  t.match(failure.stdout + failure.stderr, `${file} is empty: not applied`)
  const service = new Service(t, { DATABASE_URL, NODE_ENV: 'development' }, { source: directory })
  await service.logged('ready')
  t.match(
    service.logs.filter(({ msg }) => msg === 'a migration is empty: not applied'),
    [{ level: 40, migration: path.parse(file).name }],
  )
  service.child.kill()
  await service.exited
  t.match(await kysely('migrate:list'), `[ ] ${path.parse(file).name}`)

  const empty = await readFile(path.join(directory, file), 'utf8')
  const written = empty
    .replace('type { Kysely }', '{ type Kysely, sql }')
    .replace('// up migration code goes here...', 'await sql`create table written ()`.execute(db)')
    .replace('// down migration code goes here...', 'await sql`drop table written`.execute(db)')
  await writeFile(path.join(directory, file), written)
  t.match(await kysely('migrate:latest'), 'Ran 1 migration')
  t.same(await query(DATABASE_URL, TABLES), [{ name: 'written' }])
  t.match(await kysely('migrate:down'), 'Undone 1 migration')
  t.same(await query(DATABASE_URL, TABLES), [])
})

t.test('those before an empty one stay applied, and those after it wait', async (t) => {
  const DATABASE_URL = await database(t)
  const app = await unstarted(t, { DATABASE_URL }, { folder: migrationsFolder(t, FILES) })
  await app.lifecycle.start()
  t.match((await app.inject('/health/ready')).json(), { status: 'ready', checks: { migrations: 'passed' } })
  t.match((await app.inject('/health/db')).json(), { migrations: { applied: MIGRATIONS.length + 1, pending: 2 } })
  t.same(await query(DATABASE_URL, TABLES), [{ name: 'before' }])

  // A folder of its own, because Node.js imports each path once.
  await t.test('until it is written', async (t) => {
    const written = migrationsFolder(t, { ...FILES, [`${EMPTY_NAME}.ts`]: making('written') })
    await (await unstarted(t, { DATABASE_URL }, { folder: written })).lifecycle.start()
    t.same(await query(DATABASE_URL, TABLES), [{ name: 'after' }, { name: 'before' }, { name: 'written' }])
  })
})

t.test('in production an empty one ends the boot', async (t) => {
  const directory = await copyProject(t)
  for (const [name, content] of Object.entries(FILES)) {
    await writeFile(path.join(directory, 'migrations', name), content)
  }
  const service = new Service(
    t,
    { DATABASE_URL: await database(t), NODE_ENV: 'production', REDIS_URL: '' },
    { source: directory },
  )
  t.equal(await service.exited, 1)
  t.match(service.fatal, {
    err: { code: 'MIGRATION_FAILED', message: new RegExp(`^migrations/${EMPTY_NAME}\\.ts is empty: not applied`) },
  })
})

t.test('whatever sends a statement is applied, in whatever way it sends it', async (t) => {
  const ways = {
    builder: "db.schema.createTable('a').execute()",
    raw: 'sql`select`.execute(db)',
    unawaited: 'void sql`select`.execute(db)',
    compiled: 'db.executeQuery(sql`select`.compile(db))',
    introspection: 'db.introspection.getSchemas()',
    'without plugins': 'sql`select`.execute(db.withoutPlugins())',
    transaction: 'db.transaction().execute((trx) => sql`select`.execute(trx))',
    connection: 'db.connection().execute((one) => sql`select`.execute(one))',
  }
  for (const transaction of [true, false]) {
    for (const [way, statement] of Object.entries(ways)) {
      if (transaction && (way === 'transaction' || way === 'connection')) continue // which has one already
      const name = `99990101000000_${way.replace(' ', '_')}_${transaction}`
      const content = `import { sql } from 'kysely'
export const transaction = ${transaction}
export const up = async (db) => { await ${statement} }
`
      const { migrator, state } = await open(t, await database(t), { [`${name}.ts`]: content })
      t.same((await migrator.migrateToLatest()).error, undefined, name)
      t.match(await state(), { pending: [], applied: { length: MIGRATIONS.length + 1 } })
    }
    const name = `99990101000000_nothing_${transaction}`
    const nothing = `export const transaction = ${transaction}\n${EMPTY}`
    const { migrator, state } = await open(t, await database(t), { [`${name}.ts`]: nothing })
    t.match((await migrator.migrateUp()).error, { code: 'MIGRATION_FAILED', migration: name })
    t.match(await state(), { pending: [name] })
  }
})

t.test('an empty down is undone, and said', async (t) => {
  const notices: unknown[] = []
  const files = { '99990101000000_kept.ts': `${making('before')}export const down = async () => {}\n` }
  const DATABASE_URL = await database(t)
  const { migrator, state } = await open(t, DATABASE_URL, files, notices)
  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.equal((await migrator.migrateDown()).error, undefined)
  t.same(notices, ['the down of migrations/99990101000000_kept.ts is empty: nothing is undone'])
  t.match(await state(), { pending: ['99990101000000_kept'] })
  t.same(await query(DATABASE_URL, TABLES), [{ name: 'before' }])
})
