import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kysely, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import { tenantColumns, tenantId, tenantReference, tenantTable } from '../../src/tenants/columns.ts'
import { configure } from '../support/app.ts'
import { db } from '../support/dummy.ts'
import { copyProject, database, query, ROOT } from '../support/helper.ts'
import { leaks } from './leaks.ts'

const TIMESTAMPS = '"created_at" timestamptz default now() not null, "updated_at" timestamptz default now() not null'
const MILLISECONDS = TIMESTAMPS.replaceAll('timestamptz', 'timestamptz(3)')
const TENANT = '"tenant_id" uuid not null references "tenants" ("id")'
const ID = '"id" uuid default gen_random_uuid() not null'
const REFERS = 'foreign key ("tenant_id", "b_id") references "b" ("tenant_id", "id")'

// Migrations that were applied long ago call them: a helper that must make other columns gets another name.
t.test('the columns and keys are those they always were', async (t) => {
  const table = () => db.schema.createTable('a')
  t.equal(table().$call(tenantColumns).compile().sql, `create table "a" (${TENANT}, ${TIMESTAMPS})`)
  t.equal(table().$call(tenantId).compile().sql, `create table "a" (${TENANT})`)
  t.equal(
    table().$call(tenantTable).compile().sql,
    `create table "a" (${TENANT}, ${MILLISECONDS}, ${ID}, constraint "a_pkey" primary key ("tenant_id", "id"))`,
  )
  const references: [ReturnType<typeof tenantReference>, string][] = [
    [tenantReference('b_id', 'b'), `uuid not null, constraint "a_b_id_fkey" ${REFERS}`],
    [tenantReference('b_id', 'b', { nullable: true }), `uuid, constraint "a_b_id_fkey" ${REFERS}`],
    [
      tenantReference('b_id', 'b', { onDelete: 'cascade' }),
      `uuid not null, constraint "a_b_id_fkey" ${REFERS} on delete cascade`,
    ],
    [
      tenantReference('b_id', 'b', { onDelete: 'set null' }),
      `uuid, constraint "a_b_id_fkey" ${REFERS} on delete set null ("b_id")`,
    ],
  ]
  for (const [reference, column] of references) {
    t.equal(table().$call(reference).compile().sql, `create table "a" ("b_id" ${column})`)
  }
})

const A = '00000000-0000-4000-8000-00000000000a'
const Z = '00000000-0000-4000-8000-00000000000f'
const MISSING = '00000000-0000-4000-8000-000000000000'

/** The migration of that section of docs/tenants.md, to be applied to a database of two tenants and none of its tables. */
async function example(t: Test, section: string) {
  const page = readFileSync(path.join(ROOT, 'docs/tenants.md'), 'utf8')
  const migration = /```ts\n(import.*?)```/s.exec(page.slice(page.indexOf(section)))?.[1] as string
  const directory = await copyProject(t, { 'migrations/99990101000000_keys.ts': migration })
  const url = await database(t)
  await query(url, 'drop table if exists orders, customers cascade')
  await query(url, `insert into tenants (id, slug, name) values ('${A}', 'a', 'A'), ('${Z}', 'z', 'Z')`)
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => db.destroy())
  const migrator = createMigrator(db, { folder: path.join(directory, 'migrations') })
  const all = async () => (await leaks(url, {})).map(({ kind, name }) => `${kind} ${name}`)
  const before = await all()
  const named = async () => (await all()).filter((name) => !before.includes(name))
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  /** How many rows a tenant's statement was about, or the code of its error. */
  const as = async (tenant: string, statement: string): Promise<unknown> => {
    await client.query("select set_config('app.tenant_id', $1, false)", [tenant])
    return client.query(statement).then(
      ({ rowCount }) => rowCount,
      ({ code }) => code,
    )
  }
  const customer = (tenant: string, id: string) =>
    as(tenant, `insert into customers (tenant_id, id, name) values ('${tenant}', '${id}', 'any')`)
  let orders = 0
  const order = (tenant: string, customer: string, number = ++orders) =>
    as(tenant, `insert into orders (tenant_id, customer_id, number) values ('${tenant}', '${customer}', ${number})`)
  return { db, migrator, named, as, customer, order }
}

t.test('docs: no key of the tables crosses tenants', async (t) => {
  const { migrator, named, as, customer, order } = await example(t, '# Tenants')
  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.same(await named(), [])
  for (const tenant of [A, Z]) t.equal(await customer(tenant, tenant), 1)
  t.equal(await order(A, Z), '23503', "another tenant's")
  t.equal(await order(A, MISSING), '23503', 'and one that nobody has')
  t.equal(await order(A, A, 7), 1)
  t.equal(await order(A, A, 7), '23505')
  t.equal(await customer(Z, A), 1, 'also with an id that another tenant has')
  t.equal(await order(Z, A, 7), 1)
  t.equal(await as(Z, `delete from customers where id = '${A}'`), 1)
  t.equal(await as(Z, 'select from orders'), 0, "with its customer the tenant's own order goes")
  t.equal(await as(A, 'select from orders'), 1, 'and no other')
  t.equal((await migrator.migrateDown()).error, undefined)
})

t.test('a reference that is set to null keeps its tenant', async (t) => {
  const { db, migrator, named, as, customer, order } = await example(t, '# Tenants')
  t.equal((await migrator.migrateToLatest()).error, undefined)
  const reference = tenantReference('customer_id', 'customers', { onDelete: 'set null' })
  await db.schema.dropTable('orders').execute()
  await db.schema.createTable('orders').$call(tenantTable).$call(reference).addColumn('number', 'integer').execute()
  await sql`call isolate_tenants('orders')`.execute(db)
  t.same(await named(), [])
  t.equal(await customer(A, A), 1)
  t.equal(await order(A, A), 1)
  t.equal(await as(A, 'delete from customers'), 1)
  t.equal(await as(A, 'select from orders where customer_id is null'), 1)
})

t.test('docs: tables with a key of the id alone get keys that cross no tenants, and back', async (t) => {
  const { db, migrator, named, as, customer, order } = await example(t, '## Tables with a key of the id alone')
  await sql`drop table if exists orders, customers`.execute(db)
  const id = sql`uuid primary key default gen_random_uuid()`
  const before = () => db.schema.createTable('customers').$call(tenantColumns).addColumn('id', id)
  await before().addColumn('name', 'text').execute()
  await db.schema
    .createTable('orders')
    .$call(tenantColumns)
    .addColumn('id', id)
    .addColumn('customer_id', sql`uuid references customers`)
    .addColumn('number', 'integer')
    .execute()
  for (const table of ['customers', 'orders']) await sql`call isolate_tenants(${sql.lit(table)})`.execute(db)
  const leaking = [
    'foreign key orders_customer_id_fkey on orders',
    'primary key customers_pkey on customers',
    'primary key orders_pkey on orders',
  ]
  t.same(await named(), leaking)
  for (const tenant of [A, Z]) t.equal(await customer(tenant, tenant), 1)
  t.equal(await order(A, Z), 1, "a row refers to another tenant's")
  t.match((await migrator.migrateToLatest()).error, { cause: { code: '23503' } })
  t.same(await named(), leaking)
  t.equal(await as(A, 'delete from orders'), 1)

  t.equal(await order(A, A), 1)
  t.equal((await migrator.migrateToLatest()).error, undefined)
  t.same(await named(), [])
  t.equal(await order(A, Z), '23503')
  t.equal(await order(A, MISSING), '23503')
  t.equal((await migrator.migrateDown()).error, undefined)
  t.same(await named(), leaking)
  t.equal(await as(A, 'select from orders'), 1)
})
