import { readdir } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { build } from '../support/app.ts'
import { copyProject, database, MIGRATIONS, query, shell } from '../support/helper.ts'

t.test('kysely migrates with the configuration of the service', async (t) => {
  const url = await database(t, { empty: true })
  const { hostname, port, username, password, pathname } = new URL(url)
  const variables = {
    POSTGRES_HOST: hostname,
    POSTGRES_PORT: port,
    POSTGRES_USER: username,
    POSTGRES_PASSWORD_FILE: `${t.testdir({ password: decodeURIComponent(password) })}/password`,
    POSTGRES_DB: pathname.slice(1),
  }
  const kysely = (...args: string[]) => shell('kysely', args, variables)

  t.match(await kysely('migrate:list'), `[ ] ${MIGRATIONS[0]}`)
  t.match(await kysely('migrate:latest'), `Ran ${MIGRATIONS.length} migration`)
  t.match(await kysely('migrate:list'), new RegExp(`✓.* ${MIGRATIONS[0]}`))
  t.match(await kysely('migrate:down'), /Undone 1 migration/)
  t.match(await kysely('migrate:up'), /Ran 1 migration/)
  await build(t, { DATABASE_URL: url, MIGRATIONS: 'check' }) // what the CLI applied, boot finds applied
  t.match(await kysely('migrate:rollback', '--all'), `Undone ${MIGRATIONS.length} migration`)
  t.same(await query(url, "select 1 from pg_proc where proname = 'set_updated_at'"), [])
})

t.test('new files have a UTC timestamp for a prefix', async (t) => {
  const directory = await copyProject(t)
  for (const [command, folder] of [
    ['migrate:make', 'migrations'],
    ['seed:make', 'seeds'],
  ] as const) {
    await shell('kysely', [command, 'made'], {}, directory)
    const [made = ''] = (await readdir(path.join(directory, folder))).filter((file) => file.endsWith('_made.ts'))
    t.match(made, /^2\d{13}_made\.ts$/)
  }
})

t.test('a name that boot would refuse makes no file, and the command that makes one is said', async (t) => {
  const directory = await copyProject(t)
  const files = async () => [
    ...(await readdir(path.join(directory, 'migrations'))),
    ...(await readdir(path.join(directory, 'seeds')).catch(() => [])), // there need not be seeds
  ]
  const before = await files()
  for (const [args, said] of [
    [['migrate:make', 'add users table'], 'npx kysely migrate:make add_users_table'],
    [['migrate', 'make', '-e', 'test', 'add', 'users'], 'npx kysely migrate make add_users'],
    [['migrate:make', '-x', 'mts', 'users'], 'npx kysely migrate:make users'],
    [['seed:make', 'v1.2'], 'npx kysely seed:make v1_2'],
  ] as const) {
    const failed = shell('kysely', [...args], {}, directory)
    await t.rejects(failed, { code: 1, stderr: new RegExp(`Run: ${said}\\n`) })
  }
  t.same(await files(), before)
})

t.test('a migration that cannot be run fails the command, for CI, and is named', async (t) => {
  const DATABASE_URL = await database(t)
  for (const [file, content, said] of [
    ['99990101000000_misspelt.ts', 'export const pu = 1', /99990101000000_misspelt\.ts exports no function named up/],
    [
      '20200101000000_late.ts',
      "import { sql } from 'kysely'\nexport const up = (db) => sql`select`.execute(db)",
      /(mv migrations\/20200101000000_late\.ts migrations\/2\d{13}_late\.ts)/,
    ],
  ] as const) {
    const directory = await copyProject(t, { [`migrations/${file}`]: content })
    const failure = await shell('kysely', ['migrate:latest'], { DATABASE_URL }, directory).then(
      (output) => t.fail(output),
      (err: { code: number; stdout: string; stderr: string }) => err,
    )
    t.match(failure, { code: 1 })
    const output = Object(failure).stdout + Object(failure).stderr
    t.match(output, said)
    const [, command] = said.exec(output) as string[]
    if (!command) continue
    await shell('sh', ['-c', command], {}, directory)
    t.match(await shell('kysely', ['migrate:latest'], { DATABASE_URL }, directory), /✓.*_late/)
  }
})

t.test('a wrong configuration is said in one line, without secrets', async (t) => {
  const failed = await shell('kysely', ['migrate:list'], { DATABASE_URL: 'postgres://u:hunter2@h:x/d' }).then(
    (output) => t.fail(output),
    (err: { stdout: string; stderr: string }) => err.stdout + err.stderr,
  )
  t.match(failed, /DATABASE_URL cannot be used/)
  t.notMatch(failed, /hunter2/)
})
