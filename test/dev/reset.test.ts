import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseEnv } from 'node:util'
import t from 'tap'
import { copyProject, query, shell } from '../support/helper.ts'
import { Dev } from './run-dev.ts'

const MIGRATION = 'migrations/99990101000000_reset_of_tests.ts'
const creating = (table: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`create table ${table} ()\`.execute(db)
export const down = (db) => sql\`drop table ${table}\`.execute(db)
`
const TABLES = "select relname as name from pg_class where relname like '%_of_tests' order by 1"

const { TEST_POSTGRES_TEMPLATE } = process.env
const reset = (cwd: string) => shell('node', ['dev/reset.ts'], { TEST_POSTGRES_TEMPLATE }, cwd)

t.test('npm run reset empties the database of a running npm run dev, whose service starts again', async (t) => {
  const cwd = await copyProject(t, { [MIGRATION]: creating('one_of_tests') })
  const dev = new Dev(t, cwd)
  await dev.said('INFO: ready')
  const servers = () => readFile(path.join(cwd, '.local/dev.env'), 'utf8')
  const before = await servers()
  const { DATABASE_MIGRATION_URL: url = '' } = parseEnv(before)
  t.same(await query(url, TABLES), [{ name: 'one_of_tests' }])

  // Edited after it was applied: its down does not fit any more.
  await writeFile(path.join(cwd, MIGRATION), creating('two_of_tests'))
  const failure = await shell('kysely', ['migrate:down'], {}, cwd).catch((error) => error)
  t.match(failure.stdout + failure.stderr, /Where it was edited since it was applied: npm run reset/)

  await reset(cwd)
  t.same(await query(url, TABLES), [{ name: 'two_of_tests' }])
  t.equal(await servers(), before, 'the passwords are those that the service has')
  await dev.said('INFO: ready', 2)
  t.equal((await dev.get('/health/db')).status, 200)
  t.match(await shell('kysely', ['migrate:down'], {}, cwd), 'Undone 1 migration')

  // A service that could not migrate has ended; it starts again.
  await writeFile(path.join(cwd, MIGRATION), creating('kysely_migration'))
  await writeFile(path.join(cwd, 'src/app.ts'), `${await readFile(path.join(cwd, 'src/app.ts'), 'utf8')}\n`)
  await dev.said('the service ended (1)')
  await writeFile(path.join(cwd, MIGRATION), creating('two_of_tests'))
  await reset(cwd)
  await dev.said('INFO: ready', 3)

  await Promise.all([reset(cwd), reset(cwd)])
  t.same(await query(url, TABLES), [{ name: 'two_of_tests' }], 'of two at once each is done')

  t.equal(await dev.stop(), 0)
  t.notOk((await readdir(path.join(cwd, '.local'))).includes('dev.env'))
})

t.test('npm run reset empties the database of an npm run dev that does not run', async (t) => {
  const cwd = await copyProject(t, { [MIGRATION]: creating('one_of_tests') })
  await reset(cwd) // which makes it
  await writeFile(path.join(cwd, MIGRATION), creating('two_of_tests'))
  await reset(cwd)
  const dev = new Dev(t, cwd)
  await dev.said('INFO: ready')
  const { DATABASE_MIGRATION_URL = '' } = parseEnv(await readFile(path.join(cwd, '.local/dev.env'), 'utf8'))
  t.same(await query(DATABASE_MIGRATION_URL, TABLES), [{ name: 'two_of_tests' }])
})

t.test('npm run reset touches no database that .env or the shell names', async (t) => {
  const named = 'postgres://app:hunter2@127.0.0.1:1/app'
  const [shellNames, fileNames] = [await copyProject(t), await copyProject(t, { '.env': `DATABASE_URL=${named}\n` })]
  for (const [cwd, variables] of [
    [shellNames, { DATABASE_URL: named }],
    [fileNames, {}],
  ] as const) {
    const failure = await shell('node', ['dev/reset.ts'], variables, cwd).catch((error) => error)
    t.match(failure, {
      code: 1,
      stderr: '.env or the shell names a database: npm run reset empties that of npm run dev alone',
    })
    t.notMatch(failure.stderr, 'hunter2')
    t.notOk((await readdir(cwd)).includes('.local'))
  }
})
