import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { cp, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import path from 'node:path'
import t from 'tap'
import {
  copyProject,
  database,
  event,
  PATIENCE_MS,
  query,
  ROOT,
  run,
  SKELETON_READINESS,
  until,
} from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')
// A service may have tables, files and features of these names: it may have been made by this page.
const page = read('docs/examples.md').replace(/outbox|customers|api_keys|daily_totals/g, '$&_of_docs')
const [, featureIndex = '', featurePlugin = ''] =
  /```ts\n(.*?)```.*?```ts\n(.*?)```/s.exec(read('docs/features.md')) ?? []
const SKELETON = ['database', 'redis', 'cache', 'migrations', 'tenants', 'metrics', 'openapi']
const SETTINGS = {
  ...SKELETON_READINESS,
  PAYMENTS_URL: 'http://127.0.0.1:1',
  PAYMENTS_TOKEN: 'of the tests',
  OUTBOX_URL: 'http://127.0.0.1:1',
}

/** The files that the page shows, by path. */
const found = [...page.matchAll(/`([^`\n]+\.ts)`[^`\n]*:\n\n```ts\n(.*?)```/gs)]
const shown = new Map(found.map(([, file = '', code = ''], n) => [file.replace('…', `99990101000${100 + n}`), code]))
shown.delete('src/app.ts')
shown.delete('test/tenants/allowed.ts')
shown.set('src/payments/index.ts', featureIndex).set('src/payments/payments.ts', featurePlugin)
const tests = [...shown.keys()].filter((file) => file.endsWith('.test.ts'))

/** What src/app.ts is with the features of the skeleton that are here, and with those and the routes of the page alone. */
function app(): string {
  const kept = SKELETON.filter((name) => existsSync(path.join(ROOT, `src/${name}/index.ts`)))
  const own = [...page.matchAll(/the line `import\('\.\/(\w+)\/index\.ts'\),`/g)].map(([, name]) => name)
  const routes = [...page.matchAll(/```ts\n((?:import [^\n]+\n)+)\/\/ …\n(await fastify\.register.*?)```/gs)]
  return `${routes.map(([, imports]) => imports).join('')}import fp from 'fastify-plugin'
import env from './core/config/env.ts'
import { compose } from './core/feature.ts'
import core from './core/index.ts'

const loading = [${[...kept, 'payments', ...own].map((name) => `import('./${name}/index.ts')`)}]
export const features = [...core, ...(await compose(...loading))]

export default fp<{ env?: NodeJS.ProcessEnv; folder?: string }>(
  async function app(fastify, options) {
    await fastify.register(env, { ...options, features })
    for (const { plugin } of features) if (plugin) await fastify.register(plugin, { ...options, features })
    for (const { routes } of features) if (routes) await fastify.register(routes)
    ${routes.map(([, , code]) => code).join('')}
  },
  { name: 'app', fastify: '5.x' },
)
`
}

/** Where a service has tenants. */
const allowed = /\nexport const ALLOWED.*? = \{\n(.*?)\}\n/s.exec(page)?.[1]

t.test('docs: the service of docs/examples.md', async (t) => {
  t.setTimeout(5 * PATIENCE_MS) // the types of a whole service, and a program for each of its tests
  const own = `export const OWN: NodeJS.ProcessEnv = ${JSON.stringify(SETTINGS)}\n`
  const copy = await copyProject(t)
  await cp(path.join(ROOT, 'test'), path.join(copy, 'test'), { recursive: true })
  const write = async (file: string, text: string) => {
    await cp(path.join(copy, 'package.json'), path.join(copy, file)) // makes the folder
    await writeFile(path.join(copy, file), text)
  }
  for (const [file, code] of shown) await write(file, code)
  await write('src/app.ts', app())
  await write('test/env.ts', own)
  if (allowed) await write('test/tenants/allowed.ts', read('test/tenants/allowed.ts').replace('= {', `= {\n${allowed}`))

  const DATABASE_URL = await database(t)
  const env = {
    ...process.env,
    CI: 'true',
    DATABASE_URL,
    TEST_DATABASE_TEMPLATE: new URL(DATABASE_URL).pathname.slice(1),
  }
  const program = (name: string, ...args: string[]) => run(name, args, { cwd: copy, env })
  await program('kysely', 'migrate:latest')
  await program('node', 'dev/types.ts')

  t.test('its types fit', async (t) => {
    const include = [...shown.keys()]
    await write('tsconfig.docs.json', JSON.stringify({ extends: './tsconfig.json', include }))
    await program('tsc', '--project', 'tsconfig.docs.json').catch(({ stdout }) =>
      t.fail('tsc', { stdout: stdout.split('\n') }),
    )
  })

  t.ok(tests.length > 1)
  for (const file of tests) {
    t.test(file, async (t) => {
      await program('node', file).catch(({ stdout, stderr }) =>
        t.fail('fails', { output: `${stderr}${stdout}`.split('\n') }),
      )
    })
  }

  t.test('its tables keep tenants apart', { skip: allowed === undefined }, async (t) => {
    const looks =
      "import { leaks } from './leaks.ts'\nconsole.log(JSON.stringify(await leaks(String(process.env['DATABASE_URL']))))\n"
    await write('test/tenants/look.ts', looks)
    t.equal((await program('node', 'test/tenants/look.ts')).stdout.split('\n')[0], '[]')
  })

  t.test('its job lives through an outage, and ends what it has begun before the process leaves', async (t) => {
    const receiver = createServer().listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    t.teardown(() => receiver.close())
    const url = await database(t)
    const proxy = await TcpProxy.start(t, url)
    const settings = {
      ...SETTINGS,
      DATABASE_URL: proxy.url,
      DATABASE_MIGRATION_URL: url,
      DATABASE_CONNECT_TIMEOUT_MS: '300',
      OUTBOX_URL: `http://127.0.0.1:${Object(receiver.address()).port}`,
    }
    const service = new Service(t, settings, { source: copy, whole: true })
    await service.logged('ready')
    proxy.swallow()
    await service.logged('outbox_of_docs: trying again')
    proxy.heal()

    await query(url, "insert into outbox_of_docs (topic, payload) values ('greeting', '{}')")
    const [, response] = (await event(receiver, 'request')) as [unknown, ServerResponse]
    service.child.kill('SIGTERM')
    await service.logged('leaving')
    response.writeHead(204).end()
    t.equal(await service.exited, 0)
    t.same(await query(url, 'select * from outbox_of_docs'), [])
    t.same(
      service.logs.filter(({ level }) => level > 40),
      [],
    )
  })

  t.test('its job does not hold up a process that leaves a database that hangs', async (t) => {
    const url = await database(t)
    const proxy = await TcpProxy.start(t, url)
    const settings = { ...SETTINGS, DATABASE_URL: proxy.url, DATABASE_MIGRATION_URL: url, SHUTDOWN_TIMEOUT_MS: '500' }
    const service = new Service(t, settings, { source: copy, whole: true })
    await service.logged('ready')
    proxy.hold('outbox_of_docs')
    await until(
      () => proxy.holds,
      (holds) => holds,
    )
    service.child.kill('SIGTERM')
    t.equal(await service.exited, 1)
    await service.logged('cannot leave in time')
  })
})
