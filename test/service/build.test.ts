import { spawnSync } from 'node:child_process'
import { appendFile, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { build } from '../../dev/build.ts'
import { copyProject, database, MIGRATIONS, ROOT, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

const needed = [
  'serve.js',
  'start.js',
  'dev/build.ts',
  'dev/compiled-settings.ts',
  'dev/fingerprint.js',
  'dev/node-version.js',
  'package-lock.json',
]
const files = await Promise.all(needed.map(async (name) => [name, await readFile(path.join(ROOT, name), 'utf8')]))
const directory = await copyProject(t, Object.fromEntries(files))
await build(directory)

t.test("Docker's health check loads no agent", async (t) => {
  const image = await readFile(path.join(ROOT, 'Dockerfile'), 'utf8')
  const [program, ...args] = JSON.parse(/^HEALTHCHECK [^[]+CMD (.+)$/m.exec(image)?.[1] as string)
  const NODE_OPTIONS = preload('process.exit(7)')
  const env = { PATH: process.env['PATH'], NODE_OPTIONS, PORT: '1' }
  t.equal(spawnSync(program, args, { cwd: directory, env }).status, 1, 'nothing listens')
})

t.test('npm start runs the build while it is one of the source as it is, else the source', async (t) => {
  process.env['TEST_SERVICE'] = 'start.js'
  t.teardown(() => delete process.env['TEST_SERVICE'])
  const DATABASE_URL = await sharedDatabase()
  const start = async () => {
    const service = new Service(t, { DATABASE_URL }, { source: directory })
    await service.logged('ready')
    service.child.kill('SIGTERM')
    t.equal(await service.exited, 0, 'SIGTERM reaches the service')
    return service.output
  }
  await appendFile(path.join(directory, 'dist/src/server.js'), `\nconsole.log('{"msg":"this is the build"}')\n`)
  t.match(await start(), 'this is the build')

  await appendFile(path.join(directory, 'src/core/health/routes.ts'), '\n')
  const stale = await start()
  t.notMatch(stale, 'this is the build')
  t.match(stale, 'dist/ was built from another source')

  await rm(path.join(directory, 'dist'), { recursive: true })
  t.notMatch(await start(), 'dist/')
})

// The build of most tests: beside it lie neither the source nor node_modules.
t.test('the build alone migrates an empty database', async (t) => {
  const service = new Service(t, { DATABASE_URL: await database(t, { empty: true }) })
  t.match(await service.logged('migrated'), { migration: MIGRATIONS[0] })
  await service.logged('ready')
})
