import { readFileSync } from 'node:fs'
import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { copyProject, database, ROOT, run } from '../../test/support/helper.ts'

t.test('the tutorial works as it stands', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/tutorial.md'), 'utf8')
  const [migration, route, register, spec] = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code as string)
  const [importLine, , registerLine] = register?.split('\n') ?? []

  const directory = await copyProject(t, {
    'migrations/99990101000000_create_notes.ts': migration as string,
    'src/routes/notes.ts': route as string,
    'test/routes/notes.test.ts': spec as string,
  })
  for (const name of ['helper.ts', 'env.ts', 'support']) {
    await cp(path.join(ROOT, 'test', name), path.join(directory, 'test', name), { recursive: true })
  }
  const app = path.join(directory, 'src/app.ts')
  const source = await readFile(app, 'utf8')
  await writeFile(app, `${importLine}\n${source.replace(/( *)\/\/ Yours:\n/, `$&$1${registerLine}\n`)}`)

  const url = await database(t)
  const template = new URL(url).pathname.slice(1)
  const env = { ...process.env, CI: 'true', DATABASE_URL: url, TEST_DATABASE_TEMPLATE: template }
  const inCopy = { cwd: directory, env }
  await run('npx', ['kysely', 'migrate:latest'], inCopy)
  await run('npm', ['run', 'types'], inCopy)
  await run('npx', ['tsc', '--noEmit', '--project', directory], inCopy)
  const { stdout } = await run('node', ['test/routes/notes.test.ts'], inCopy)
  t.match(stdout, /ok 1 - a note that was posted is listed/)
})
