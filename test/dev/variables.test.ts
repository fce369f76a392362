import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { OWN } from '../env.ts'
import { backends, copyProject, database, ENV, event, ROOT, shell, unmeasured, until } from '../support/helper.ts'
import { secretFile } from '../support/settings.ts'

/** What an earlier `npm run dev` left. */
const STALE =
  'DATABASE_URL=postgres://stale@127.0.0.1:1/stale\nDATABASE_MIGRATION_URL=postgres://stale@127.0.0.1:1/stale\n'

/** A migrated database whose name one reader would expand, and the variables that lead to it. */
async function oddDatabase(t: Test) {
  const name = `test_${randomUUID().slice(0, 8)}$USER-x`
  const { hostname, port, username, password } = new URL(await database(t, { name }))
  const passwordFile = await secretFile(t, decodeURIComponent(password))
  const variables = { POSTGRES_HOST: hostname, POSTGRES_PORT: port, POSTGRES_USER: username }
  return { name, variables: { POSTGRES_DB: name, ...variables, POSTGRES_PASSWORD_FILE: passwordFile } }
}

/** As an editor of Windows saves it. */
function envFile(variables: NodeJS.ProcessEnv): string {
  return `\uFEFF${Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\r\n`)
    .join('')}`
}

async function project(t: Test, env: string): Promise<string> {
  return copyProject(t, { '.env': env, '.local/dev.env': STALE })
}

const CURRENT = ['sql', 'select current_database()', '-f', 'json']

t.test('one .env, whichever command reads it, and it wins over servers of before', async (t) => {
  const { name, variables } = await oddDatabase(t)
  const directory = await project(t, envFile(variables))

  t.match(await shell('kysely', CURRENT, { USER: 'eve' }, directory), `"current_database": "${name}"`)
  t.match(await shell('npm', ['run', 'types', '--', '--verify'], { USER: 'eve' }, directory), /up-to-date/)

  const [command = '', ...args] = [...unmeasured(), process.execPath, 'dev/main.ts']
  const dev = spawn(command, args, { cwd: directory, env: { ...ENV, PATH: process.env['PATH'], USER: 'eve' } })
  t.teardown(() => dev.kill('SIGKILL'))
  let output = ''
  for (const stream of [dev.stdout, dev.stderr]) stream.on('data', (chunk) => (output += chunk))
  const [url] = await until(
    () => /(?<=Server listening at )[\w:/.]+/.exec(output) ?? [],
    ([found]) => found !== undefined && / ready/.test(output),
  )
  t.match(await (await fetch(`${url}/health/db`)).json(), { database: name })
  t.notMatch(output, /stale/)
  dev.kill('SIGTERM')
  await event(dev, 'exit')
})

t.test('what the shell has set wins over .env', async (t) => {
  const DATABASE_URL = await database(t)
  const directory = await project(t, 'DATABASE_URL=postgres://other@127.0.0.1:1/$USER\n')
  t.match(await shell('kysely', CURRENT, { DATABASE_URL }, directory), new URL(DATABASE_URL).pathname.slice(1))
  t.match(await shell('npm', ['run', 'types', '--', '--verify'], { DATABASE_URL }, directory), /up-to-date/)
})

t.test('a line that is not read as it is meant is told by each command, once it asks the database', async (t) => {
  const directory = await project(t, `PORT=3000\nDATABASE_URL: ${backends.database}\nTOKEN="hunter2"x\n`)
  for (const [program, ...args] of [
    ['kysely', ...CURRENT],
    ['npm', 'run', 'types'],
    ['node', 'dev/main.ts'],
  ] as [string, ...string[]][]) {
    const failed = await shell(program, args, {}, directory).then(
      (output) => t.fail(output),
      (err: { stdout: string; stderr: string }) => err.stdout + err.stderr,
    )
    t.match(failed, /\.env:2: DATABASE_URL is not read .*\.env:3: TOKEN is not read/, program)
    t.notMatch(failed, new RegExp(`hunter2|${new URL(backends.database).password}`))
  }
  t.match(await shell('kysely', ['migrate:make', 'made'], {}, directory), /_made\.ts/)
})

t.test('no file counts for the command line alone', async (t) => {
  const DATABASE_URL = await database(t)
  const directory = await project(t, `DATABASE_URL=${DATABASE_URL}\n`)
  await writeFile(path.join(directory, '.env.staging'), `DATABASE_URL=postgres://other@127.0.0.1:1/other\n`)
  const staging = shell('kysely', [...CURRENT, '-e', 'staging'], {}, directory)
  await t.rejects(staging, { code: 1, stderr: /\.env\.staging is not read/ })
  await rm(path.join(directory, '.env.staging'))
  t.match(await shell('kysely', [...CURRENT, '-e', 'staging'], {}, directory), new URL(DATABASE_URL).pathname.slice(1))
})

t.test('a required setting of the service itself stops no command that does not read it', async (t) => {
  const DATABASE_URL = await database(t)
  const app = await readFile(path.join(ROOT, 'src/app.ts'), 'utf8')
  const directory = await copyProject(t, {
    'src/app.ts': app.replace('await compose(', "$&import('./dummy/index.ts'),"),
    'src/dummy/index.ts':
      "import { Type } from 'typebox'\nexport default { name: 'dummy', settings: { DUMMY_TOKEN: Type.String() } }\n",
  })
  const server = shell('node', ['src/server.ts'], { ...OWN, DATABASE_URL }, directory)
  await t.rejects(server, { code: 1, stdout: /DUMMY_TOKEN is missing/ })
  t.match(await shell('kysely', ['migrate:make', 'made'], {}, directory), /_made\.ts/)
  t.match(await shell('kysely', CURRENT, { DATABASE_URL }, directory), 'current_database')
  t.match(await shell('npm', ['run', 'types', '--', '--verify'], { DATABASE_URL }, directory), /up-to-date/)
})
