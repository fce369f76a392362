import { readdir } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { build } from './app.ts'
import { copyProject, database, MIGRATIONS, query, ROOT, run } from './helper.ts'

/** Runs a program of node_modules as a person at a shell does. */
async function shell(program: string, args: string[], env: NodeJS.ProcessEnv, cwd = ROOT): Promise<string> {
  const { stdout, stderr } = await run(program, args, { cwd, env: { CI: 'true', ...env } })
  return stdout + stderr
}

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

  t.match(await kysely('migrate:list'), /\[ \] 20261101000000_base_structure/)
  t.match(await kysely('migrate:latest'), `Ran ${MIGRATIONS.length} migration`)
  t.match(await kysely('migrate:list'), /✓.* 20261101000000_base_structure/)
  t.match(await kysely('migrate:down'), /Undone 1 migration/)
  t.match(await kysely('migrate:up'), /Ran 1 migration/)
  await build(t, { DATABASE_URL: url, MIGRATIONS: 'check' }) // what the CLI applied, boot finds applied
  t.match(await kysely('migrate:rollback', '--all'), `Undone ${MIGRATIONS.length} migration`)
  t.same(await query(url, "select 1 from pg_tables where tablename = 'tenants'"), [])
})

t.test('seeds fill a development database, and twice changes nothing', async (t) => {
  const url = await database(t)
  const seeded = async () => {
    await shell('kysely', ['seed:run'], { DATABASE_URL: url })
    return query(url, 'select * from tenants order by slug')
  }
  const once = await seeded()
  t.match(once, [{ slug: 'acme' }, { slug: 'globex' }])
  t.same(await seeded(), once)
})

t.test('kysely finds the host that takes writes', async (t) => {
  const url = await database(t)
  const output = await shell('kysely', ['migrate:list'], { DATABASE_URL: url.replace('@', '@127.0.0.1:1,') })
  t.match(output, /✓.* 20261101000000_base_structure/)
})

t.test('new files have a UTC timestamp for a prefix', async (t) => {
  const directory = await copyProject(t)
  for (const [command, folder] of [
    ['migrate:make', 'migrations'],
    ['seed:make', 'seeds'],
  ] as const) {
    await shell('kysely', [command, 'made'], { DATABASE_URL: 'postgres://localhost/unused' }, directory)
    const files = await readdir(path.join(directory, folder))
    t.match(files.sort().at(-1), /^2\d{13}_made\.ts$/)
  }
})

t.test('a migration that cannot be run fails the command, for CI, and is named', async (t) => {
  const DATABASE_URL = await database(t)
  for (const [file, content, said] of [
    ['99990101000000_misspelt.ts', 'export const pu = 1', /99990101000000_misspelt\.ts exports no function named up/],
    [
      '20200101000000_late.ts',
      'export const up = async () => {}',
      /20261101000000_base_structure.*20200101000000_late/,
    ],
  ] as const) {
    const directory = await copyProject(t, { [`migrations/${file}`]: content })
    const failure = await shell('kysely', ['migrate:latest'], { DATABASE_URL }, directory).then(
      (output) => t.fail(output),
      (err: { code: number; stdout: string; stderr: string }) => err,
    )
    t.match(failure, { code: 1 })
    t.match(Object(failure).stdout + Object(failure).stderr, said)
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

t.test('the types of the tables are those of the migrated database', async (t) => {
  const DATABASE_URL = await database(t)
  await t.resolves(shell('npm', ['run', 'types', '--', '--verify'], { DATABASE_URL }))
})
