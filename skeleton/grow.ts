/**
 * `npm run check:grown`: a service that has grown as the docs say passes type check, linter and its whole suite, without an
 * edit to any test of the skeleton. Arguments go to `npm test`, so that a part can be asked; `--keep` leaves the copy.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { startPostgres } from '../dev/postgres.ts'
import { copyProject } from './copy.ts'
import { skeleton } from './features.ts'

const temporary = mkdtempSync(path.join(tmpdir(), 'grown-'))
const copy = path.join(temporary, 'orders')
const args = process.argv.slice(2).filter((arg) => arg !== '--keep')

/** Shows what it prints. Throws when it fails. */
function run(command: string, ...args: string[]): void {
  process.stdout.write(`\n$ ${[command, ...args].join(' ')}\n`)
  execFileSync(command, args, { cwd: copy, env, stdio: 'inherit' })
}
const env: NodeJS.ProcessEnv = { ...process.env, CI: 'true' }

const read = (file: string) => readFileSync(path.join(copy, file), 'utf8')

function write(file: string, text: string): void {
  mkdirSync(path.dirname(path.join(copy, file)), { recursive: true })
  writeFileSync(path.join(copy, file), text)
}

const PAYMENTS = "    import('./payments/index.ts'),\n"

function edit(file: string, from: string | RegExp, to: string): void {
  const text = read(file)
  if (!(typeof from === 'string' ? text.includes(from) : from.test(text))) throw new Error(`${file} has no ${from}`)
  write(
    file,
    text.replace(from, () => to),
  )
}

/** The code that a page of the docs shows. */
function code(page: string): string[] {
  return [...read(page).matchAll(/```ts\n(.*?)```/gs)].map(([, text]) => text as string)
}

/** "Your first table and route", literally. */
function followTheTutorial(): void {
  const [migration, route, registration, spec] = code('docs/tutorial.md') as [string, string, string, string]
  write('migrations/20270101000000_create_notes.ts', migration)
  write('src/routes/notes.ts', route)
  write('test/routes/notes.test.ts', spec)
  register(registration)
}

/** A table whose rows are a tenant's, by the helpers for migrations. */
function addOrders(): void {
  write(
    'migrations/20270102000000_create_orders.ts',
    `import { type Kysely, sql } from 'kysely'
import { millisecondTimestamps } from '../src/database/columns.ts'
import { tenantReference, tenantTable } from '../src/tenants/columns.ts'

export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('articles')
    .addColumn('id', 'uuid', (col) => col.primaryKey().defaultTo(sql\`gen_random_uuid()\`))
    .$call(millisecondTimestamps)
    .execute()
  await db.schema
    .createTable('orders')
    .$call(tenantTable)
    .addColumn('article_id', 'uuid', (col) => col.references('articles.id'))
    .$call(tenantReference('replaces', 'orders', { nullable: true }))
    .addColumn('total', 'integer', (col) => col.notNull())
    .addColumn('number', 'bigint', (col) => col.generatedAlwaysAsIdentity())
    .execute()
  await sql\`call isolate_tenants('orders')\`.execute(db)
  await sql\`create unique index orders_number on orders (number)\`.execute(db)
  for (const table of ['articles', 'orders']) await sql\`call keep_updated_at(\${sql.lit(table)})\`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('orders').execute()
  await db.schema.dropTable('articles').execute()
}
`,
  )
  edit('test/tenants/allowed.ts', '= {}', "= { 'unique key orders_number on orders': 'printed on bills' }")
  write(
    'test/orders/orders.test.ts',
    `import t from 'tap'
import { withTenant } from '../../src/tenants/with-tenant.ts'
import { build, caller, database, factory } from '../helper.ts'
import { tenants } from '../tenants/helper.ts'

t.test("a tenant's order is that tenant's alone", async (t) => {
  const app = await build(t, { DATABASE_URL: await database(t) }, async (fastify) => {
    fastify.get('/orders', ({ headers }) =>
      withTenant(fastify.db, String(headers['x-tenant']), (trx) => trx.selectFrom('orders').select('total').execute()),
    )
  })
  const tenant = tenants(app.db)
  const [mine, other] = [await tenant(), await tenant({ name: 'Other' })]
  await withTenant(app.db, mine.id, async (trx) => {
    const order = factory(trx, 'orders', (n) => ({ tenant_id: mine.id, total: n }))
    await order()
    await order({ total: 7 })
  })
  t.same((await caller(app, { 'x-tenant': mine.id })('GET', '/orders')).json(), [{ total: 1 }, { total: 7 }])
  t.same((await caller(app, { 'x-tenant': other.id })('GET', '/orders')).json(), [])
})
`,
  )
}

/** "A feature of your own": a required setting, a secret, and a check that fails wherever its backend is not, as in tests. */
function addPayments(): void {
  const [index, plugin] = code('docs/features.md') as [string, string]
  write('src/payments/index.ts', index)
  write('src/payments/payments.ts', plugin)
  edit('src/app.ts', "    import('./openapi/index.ts'),\n", `    import('./openapi/index.ts'),\n${PAYMENTS}`)
  edit(
    'test/env.ts',
    '= {}',
    "= { PAYMENTS_URL: 'http://payments.invalid', PAYMENTS_TOKEN: 'of the tests', READINESS_REQUIRES: 'database,stock' }",
  )
  write(
    'test/payments/payments.test.ts',
    `import t from 'tap'
import { build, database, Service } from '../helper.ts'

t.test('without the payment provider the service is degraded, and ready', async (t) => {
  const app = await build(t)
  const health = (await app.inject('/health')).json()
  t.match(health, { status: 'degraded', services: { payments: { status: 'error' }, stock: { status: 'ok' } } })
  t.equal((await app.inject('/health/ready')).statusCode, 200)
})

t.test('the process says so too', async (t) => {
  const service = new Service(t, { DATABASE_URL: await database(t) })
  const url = await service.url()
  await service.logged('ready')
  t.match(await (await fetch(new URL('/health', url))).json(), { services: { payments: { status: 'error' } } })
})

t.test('its address is required', async (t) => {
  const service = new Service(t, { PAYMENTS_URL: '' })
  t.equal(await service.exited, 1)
  t.match(service.output, 'PAYMENTS_URL')
})
`,
  )
}

/** What docs/examples.md shows, literally. */
function addExamples(): void {
  const page = read('docs/examples.md')
  const files = [...page.matchAll(/`([^`\n]+\.ts)`[^`\n]*:\n\n```ts\n(.*?)```/gs)] as unknown as [
    string,
    string,
    string,
  ][]
  for (const [n, [, file, text]] of files.entries()) {
    if (file === 'src/app.ts') register(text)
    else if (file === 'test/tenants/allowed.ts') {
      const [, reasons = ''] = /= \{\n(.*)\}\n$/s.exec(text) ?? []
      edit(file, '= {', `= {\n${reasons}`)
    } else write(file.replace('…', `202702010000${10 + n}`), text)
  }
  edit('src/app.ts', PAYMENTS, `${PAYMENTS}    import('./outbox/index.ts'),\n`)
  edit('test/env.ts', '= {', "= { OUTBOX_URL: 'http://outbox.invalid',")
}
/** The import goes to the others, the call below the comment. */
function register(text: string): void {
  const [imports, call] = text.split('// …\n') as [string, string]
  edit('src/app.ts', "import core from './core/index.ts'\n", `import core from './core/index.ts'\n${imports}`)
  edit('src/app.ts', '    // Yours:\n', `    // Yours:\n${call}`)
}

/** Another plugin, with a check that is required and one that is not. */
function addStock(): void {
  write(
    'src/stock.ts',
    `import fp from 'fastify-plugin'

export default fp(
  async function stock(fastify) {
    fastify.health.add({ name: 'stock', required: true, check: async () => {} })
    fastify.health.add({ name: 'prices', check: async () => {} })
    fastify.get('/stock', async () => ({ articles: 3 }))
  },
  { name: 'stock', fastify: '5.x', dependencies: ['health'] },
)
`,
  )
  edit(
    'src/app.ts',
    "import core from './core/index.ts'\n",
    "import core from './core/index.ts'\nimport stock from './stock.ts'\n",
  )
  edit('src/app.ts', '    // Yours:\n', '    // Yours:\n    await fastify.register(stock)\n')
}

/** Another name, description and version, and the coverage that this service asks of itself. */
function rename(): void {
  const manifest = JSON.parse(read('package.json'))
  const own = { name: 'orders', version: '2.3.4', description: 'Takes orders', coverage: 97 }
  write('package.json', `${JSON.stringify({ ...manifest, ...own }, null, 2)}\n`)
}

async function generate(): Promise<void> {
  const postgres = await startPostgres()
  try {
    env['DATABASE_URL'] = postgres.url
    run('npx', 'kysely', 'migrate:latest')
    run('npm', 'run', 'types')
  } finally {
    delete env['DATABASE_URL']
    await postgres.close()
  }
  run('npm', 'run', 'docs')
}

try {
  copyProject(copy)
  // Which no service has.
  for (const file of skeleton.remove ?? []) rmSync(path.join(copy, file), { recursive: true })
  followTheTutorial()
  addOrders()
  addPayments()
  addStock()
  addExamples()
  rename()
  // What the docs show is formatted already; of the rest it is not the point.
  run(
    'npx',
    'biome',
    'check',
    '--write',
    'src/app.ts',
    'src/stock.ts',
    'test/env.ts',
    'test/tenants',
    'test/payments',
    'test/orders',
  )
  await generate()
  run('npm', 'run', 'typecheck')
  run('npm', 'run', 'lint')
  run('npm', 'test', ...(args.length > 0 ? ['--', ...args] : []))
  process.stdout.write('\na service that has grown is green\n')
} catch (error) {
  process.stderr.write(`\n${(error as Error).message}\n`)
  process.exitCode = 1
} finally {
  if (process.argv.includes('--keep')) process.stdout.write(`${copy}\n`)
  else rmSync(temporary, { recursive: true, force: true })
}
