import { spawnSync } from 'node:child_process'
import { appendFile, readdir, readFile, rm, truncate } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { build } from '../../dev/build.ts'
import { copyProject, database, MIGRATIONS, ROOT, run, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

const needed = [
  'serve.js',
  'start.js',
  'dev/build.ts',
  'dev/compiled-settings.ts',
  'dev/fingerprint.js',
  'dev/kept-code.cjs',
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

/** Tells of each script whether V8 took the code that was kept of it. */
const COUNTING = `data:text/javascript,${encodeURIComponent(`
  const vm = process.getBuiltinModule('node:vm')
  vm.Script = class extends vm.Script {
    constructor(...args) {
      super(...args)
      console.log(JSON.stringify({ msg: this.cachedDataRejected === false ? 'kept' : 'compiled anew' }))
    }
  }
`)}`

t.test('a boot runs the code that the build has kept, and does without code that is damaged', async (t) => {
  await build(directory)
  const cache = (await readdir(path.join(directory, 'dist/cache'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => path.join(parentPath, name))
  const DATABASE_URL = await sharedDatabase()
  const boot = async () => {
    const command = [process.execPath, path.join(directory, 'dist/src/server.js')]
    const service = new Service(t, { DATABASE_URL, NODE_OPTIONS: `--import=${COUNTING}` }, { command })
    await service.logged('ready')
    return (text: string) => service.logs.filter(({ msg }) => msg === text).length
  }
  const whole = await boot()
  t.ok(whole('kept') > 1)
  t.equal(whole('compiled anew'), 0)
  for (const file of cache) await truncate(file, 1_000)
  t.equal((await boot())('kept'), 0)
  for (const file of cache) await rm(file)
  t.equal((await boot())('kept'), 0)
})

t.test('a module that awaits at its top level is built too, and the build says what that costs', async (t) => {
  const copy = await copyProject(t, Object.fromEntries(files))
  await appendFile(path.join(copy, 'src/core/health/routes.ts'), '\nawait Promise.resolve()\n')
  const script = `import { build } from '${pathToFileURL(path.join(copy, 'dev/build.ts'))}'; await build()`
  const { stderr } = await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: copy })
  t.match(stderr, /^dist\/ starts slower than it could: a module of src\/ awaits at its top level, at `await Promise/)
  const command = [process.execPath, path.join(copy, 'dist/src/server.js')]
  await new Service(t, { DATABASE_URL: await database(t, { empty: true }) }, { command }).logged('ready')
})

// The build of most tests: beside it lie neither the source nor node_modules.
t.test('the build alone migrates an empty database', async (t) => {
  const service = new Service(t, { DATABASE_URL: await database(t, { empty: true }) })
  t.match(await service.logged('migrated'), { migration: MIGRATIONS[0] })
  await service.logged('ready')
})
