import { Kysely, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { migrationDialect } from '../../src/migrations/migrator.ts'
import { tenantTable } from '../../src/tenants/columns.ts'
import { build, configure } from '../support/app.ts'
import { database, query } from '../support/helper.ts'
import { A, ATTACKS, type Attack, type Outcome, Z } from './attacks.ts'
import { leaks } from './leaks.ts'
import { skeletonMigrations } from './migrations.ts'

/**
 * A database whose migrations a superuser ran, with a note of A and one of Z; `shop` serves, and bypasses nothing. All
 * lies in a schema of its own, as it may in a service.
 */
const postgres = await startPostgres()
t.teardown(() => postgres.close())
const at = (pathname: string, user: object = {}) => Object.assign(new URL(postgres.url), { pathname, ...user }).href
await query(postgres.url, "create role shop login password 'secret'")
await query(postgres.url, 'create database template')

t.before(async () => {
  const DATABASE_URL = at('template')
  const app = await build(t, { DATABASE_URL }, undefined, { folder: skeletonMigrations(t) })
  await query(DATABASE_URL, 'create schema attacked; alter database template set search_path = attacked, public')
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL })) })
  await db.schema.createTable('notes').$call(tenantTable).addColumn('text', 'text').execute()
  await sql`call isolate_tenants('notes')`.execute(db)
  await db.destroy()
  await app.close()
  await query(
    DATABASE_URL,
    `insert into tenants (id, slug, name) values ('${A}', 'a', 'A'), ('${Z}', 'z', 'Z');
     insert into notes (tenant_id, id, text) values ('${A}', '${A}', 'of a'), ('${Z}', '${Z}', 'of z');
     grant select, insert, update, delete on all tables in schema attacked to shop; grant usage on schema attacked to shop;
     alter default privileges grant select, insert, update, delete on tables to shop;
     alter default privileges grant usage on schemas to shop`,
  )
})

let databases = 0

const named = async (url: string) => (await leaks(url, {})).map(({ kind, name }) => `${kind} ${name}`)

async function attempt(t: Test, { made, attack, told, named: leaking, right, safe }: Attack): Promise<void> {
  const name = `attack_${++databases}`
  await query(postgres.url, `create database ${name} template template strategy file_copy`)
  await query(postgres.url, `alter database ${name} set search_path = attacked, public`)
  const url = at(name)
  const client = new pg.Client(at(name, { username: 'shop', password: 'secret' }))
  await client.connect()
  t.teardown(() => client.end())
  const outcome = async (statements: string): Promise<Outcome> => {
    await client.query(`begin; select set_config('app.tenant_id', '${A}', true)`)
    try {
      // Of several statements there are several results.
      const [last] = [await client.query<{ text: string }>(statements)].flat().slice(-1)
      return last?.rows.map(({ text }) => text).sort() ?? []
    } catch (error) {
      return (error as pg.DatabaseError).code ?? String(error)
    } finally {
      await client.query('rollback')
    }
  }
  const outcomes = async () => {
    const all: Outcome[] = []
    for (const statement of attack) all.push(await outcome(statement))
    return all
  }
  const before = await named(url)
  await query(url, made)
  t.same(await outcomes(), told, 'the attack tells')
  t.same(
    (await named(url)).filter((name) => !before.includes(name)),
    leaking,
  )
  await query(url, right)
  t.same(await outcomes(), safe, 'the right spelling does not')
  t.same(await named(url), before)
}

for (const [title, attack] of Object.entries(ATTACKS)) t.test(`${title} is found`, (t) => attempt(t, attack))

t.test('what tells nobody anything is not named', async (t) => {
  const url = await database(t)
  const before = await named(url)
  await query(
    url,
    `create table tenant_plans (id uuid primary key, tenant uuid references tenants, slug text unique);
     create table tenant_rows (tenant_id uuid primary key, plan_id uuid references tenant_plans, text text);
     call isolate_tenants('tenant_rows');
     create index on tenant_rows (text);
     create view tenant_slugs as select slug from tenant_plans;
     create function tenant_now() returns uuid language sql
       as $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;
     create aggregate tenant_sum (integer) (sfunc = int4pl, stype = integer);
     create extension if not exists citext schema public;
     create function tenant_brought() returns void language sql security definer as '';
     alter extension citext add function tenant_brought()`,
  )
  t.same(await named(url), before)
})

t.test('what has a reason is allowed, and a reason without a leak is named', async (t) => {
  const url = await database(t)
  const before = await leaks(url, {})
  const others = Object.fromEntries(before.map(({ kind, name }) => [`${kind} ${name}`, 'of the service']))
  await query(url, 'create table tenant_rows (tenant_id uuid)')
  const leak = { kind: 'table', name: 'tenant_rows', cure: "call isolate_tenants('tenant_rows')" }
  t.same(await leaks(url, others), [leak])
  t.same(await leaks(url, { ...others, 'table tenant_rows': '' }), [leak], 'an empty reason is none')
  t.same(await leaks(url, { ...others, 'table tenant_rows': 'of all tenants' }), [])
  t.match(await leaks(url, { ...others, 'table tenant_rows': 'of all tenants', 'table gone': 'of all tenants' }), [
    { kind: 'exception', name: 'table gone', cure: /allowed.ts/ },
  ])
})
