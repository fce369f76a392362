import { spawnSync } from 'node:child_process'
import { appendFile, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
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
  const dist = path.join(directory, 'dist')
  const within = async (folder: string) =>
    (await readdir(path.join(dist, folder), { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => path.join(parentPath, name))
  const cache = await within('cache')
  const DATABASE_URL = await sharedDatabase()
  const boot = async () => {
    const command = [process.execPath, path.join(dist, 'src/server.js')]
    const service = new Service(t, { DATABASE_URL, NODE_OPTIONS: `--import=${COUNTING}` }, { command })
    await service.logged('ready')
    const count = (text: string) => service.logs.filter(({ msg }) => msg === text).length
    return { kept: count('kept'), anew: count('compiled anew') }
  }
  const whole = await boot()
  t.ok(whole.kept > 1)
  t.equal(whole.anew, 0)

  const chunks = await within('src/chunks')
  const sources = await Promise.all(chunks.map((file) => readFile(file, 'utf8')))
  for (const [n, file] of chunks.entries())
    await writeFile(file, (sources[n] as string).replaceAll('CONFIG_INVALID', 'CONFIG_INVALIT'))
  t.ok((await boot()).anew > 0, 'a source of the same length that is another one')
  for (const [n, file] of chunks.entries()) await writeFile(file, sources[n] as string)
  t.same(await boot(), whole)

  // V8 would take it, and end the process.
  for (const file of cache) {
    const code = await readFile(file)
    for (let at = 100; at < code.length; at += 1_000) code.writeUInt8(code.readUInt8(at) ^ 4, at)
    await writeFile(file, code)
  }
  t.equal((await boot()).kept, 0, 'flipped bits')
  for (const file of cache) await truncate(file, 1_000)
  t.equal((await boot()).kept, 0, 'half written')
  for (const file of cache) await rm(file)
  t.equal((await boot()).kept, 0, 'lost')
})

const FORMS = `import path from 'node:path'
export const shared = { calls: 0 }
export default () => ++shared.calls
const __dirname = import.meta.dirname
const importModule = (name: string) => import(name)
const named = { import: (name: string) => name }
importModule('node:path').then((imported) => console.log(JSON.stringify({
  msg: 'forms',
  text: 'import("./x") of import.meta.url',
  named: named.import('./a.csv'),
  imported: imported.join === path.join,
  meta: path.join(__dirname, path.basename(import.meta.url)) === import.meta.filename,
  resolved: import.meta.resolve('node:fs'),
})))
`
const MIGRATION = `import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { sql, type Kysely } from 'kysely'
import { shared } from '../src/forms.ts'
const __dirname = path.dirname(fileURLToPath(import.meta.url))
const { default: count } = await import('../src/forms.ts')
export const up = async (db: Kysely<never>) => {
  count()
  await sql\`select 1\`.execute(db)
  console.log(JSON.stringify({ msg: 'forms of a migration', calls: shared.calls, folder: path.basename(__dirname) }))
}
`

t.test('the build says what the source says of import() and import.meta', async (t) => {
  const forms = { 'src/forms.ts': FORMS, 'migrations/20991231000000_forms.ts': MIGRATION }
  const copy = await copyProject(t, { ...Object.fromEntries(files), ...forms })
  const routes = path.join(copy, 'src/core/health/routes.ts')
  await writeFile(routes, `import '../../forms.ts'\n${await readFile(routes, 'utf8')}`)
  await build(copy)
  const command = [process.execPath, path.join(copy, 'dist/src/server.js')]
  const service = new Service(t, { DATABASE_URL: await database(t, { empty: true }) }, { command })
  t.match(await service.logged('forms'), {
    text: 'import("./x") of import.meta.url',
    named: './a.csv',
    imported: true,
    meta: true,
    resolved: 'node:fs',
  })
  t.match(await service.logged('forms of a migration'), { calls: 1, folder: 'migrations' })
  await service.logged('ready')
})

t.test('a start that waits for what never comes is a failure', async (t) => {
  const NODE_OPTIONS = preload(`
    import { registerHooks } from 'node:module'
    const never = { format: 'module', source: 'await new Promise(() => {})', shortCircuit: true }
    registerHooks({ load: (url, context, next) => url.endsWith('/core/lookup.ts') ? never : next(url, context) })`)
  t.equal(await new Service(t, { NODE_OPTIONS }, { source: ROOT }).exited, 13)

  const copy = await copyProject(t, Object.fromEntries(files))
  await build(copy)
  const main = path.join(copy, 'dist/src/server.main.js')
  const text = await readFile(main, 'utf8')
  await writeFile(main, text.replace(/(Promise\.all\(\[)/, '$1new Promise(() => {}),'))
  const command = [process.execPath, path.join(copy, 'dist/src/server.js')]
  t.equal(await new Service(t, {}, { command }).exited, 13)
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
