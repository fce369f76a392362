import { readdirSync, readFileSync } from 'node:fs'
import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { copyProject, database, ROOT, run } from '../support/helper.ts'

// Who has followed it has the table already.
const skip = readdirSync(path.join(ROOT, 'migrations')).length > 1 && 'the project has tables of its own'

t.test('README: "Your first table and route" works as it stands', { skip }, async (t) => {
  const section = readFileSync(path.join(ROOT, 'docs/tutorial.md'), 'utf8')
  const [migration, route, register, spec] = [...section.matchAll(/```ts\n(.*?)```/gs)].map(
    ([, code]) => code as string,
  )
  const [importLine, , registerLine] = register?.split('\n') ?? []

  const directory = await copyProject(t, {
    'migrations/99990101000000_create_notes.ts': migration as string,
    'src/routes/notes.ts': route as string,
    'test/routes/notes.test.ts': spec as string,
  })
  for (const name of ['test/app.ts', 'test/helper.ts']) await cp(path.join(ROOT, name), path.join(directory, name))
  const app = path.join(directory, 'src/app.ts')
  const source = await readFile(app, 'utf8')
  await writeFile(
    app,
    `${importLine}\n${source.replace(/( *)await fastify.register\(healthRoutes\)\n/, `$&$1${registerLine}\n`)}`,
  )

  const url = await database(t)
  const template = new URL(url).pathname.slice(1)
  const env = { ...process.env, CI: 'true', DATABASE_URL: url, TEST_DATABASE_TEMPLATE: template }
  const inCopy = { cwd: directory, env }
  await run('npx', ['kysely', 'migrate:latest'], inCopy)
  await run('npm', ['run', 'types'], inCopy)
  await run('npx', ['tsc', '--noEmit'], inCopy)
  const { stdout } = await run('node', ['test/routes/notes.test.ts'], inCopy)
  t.match(stdout, /ok 1 - a note that was posted is listed/)
})
