import { randomUUID } from 'node:crypto'
import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { type TenantColumns, tenantColumns } from '../../src/tenants/columns.ts'
import { forTenant } from '../../src/tenants/for-tenant.ts'
import { TenantInactiveError, withTenant } from '../../src/tenants/with-tenant.ts'
import { build } from '../support/app.ts'
import { database, until } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'
import { plainPool } from '../support/plain-pool.ts'

interface Tables {
  tenant_rows: TenantColumns & { text: string }
}
type Db = Kysely<Tables>

/** A table of rows, one of each tenant. */
async function rows(db: Db, tenants = 2) {
  await db.schema.createTable('tenant_rows').$call(tenantColumns).addColumn('text', 'text').execute()
  await sql`call isolate_tenants('tenant_rows')`.execute(db)
  const ids = Array.from({ length: tenants }, () => randomUUID())
  for (const id of ids) {
    await sql`insert into tenants (id, slug, name) values (${id}, ${id}, 'A tenant')`.execute(db)
    await forTenant(db, id, db.insertInto('tenant_rows').values({ tenant_id: id, text: id }))
  }
  const all = db.selectFrom('tenant_rows').select('text')
  const seenBy = async (id: string) => (await forTenant(db, id, all)).rows.map(({ text }) => text)
  return { ids, mine: ids[0] as string, other: ids[1] as string, all, seenBy }
}

/** As many connections as asked for, of pg's own pool. */
async function setUp(t: Test, { max = 1, tenants = 2 } = {}) {
  const pool = plainPool(await database(t), max)
  const db: Db = new Kysely({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  return { db, pool, ...(await rows(db, tenants)) }
}

t.test('a query sees and writes the rows of its tenant alone', async (t) => {
  const { db, mine, other, all, seenBy } = await setUp(t)
  t.same(await seenBy(mine), [mine])
  t.same(await seenBy(randomUUID()), [], 'a tenant that is not there')
  const theirs = db.updateTable('tenant_rows').set({ text: 'x' }).where('tenant_id', '=', other)
  t.equal((await forTenant(db, mine, theirs)).numAffectedRows, 0n)
  t.equal((await forTenant(db, other, theirs)).numAffectedRows, 1n)
  t.same(await forTenant(db, other, db.deleteFrom('tenant_rows').returning('text')), {
    rows: [{ text: 'x' }],
    numAffectedRows: 1n,
  })
  await t.rejects(forTenant(db, mine, db.insertInto('tenant_rows').values({ tenant_id: other, text: 'x' })), {
    code: '42501',
  })
  t.same(await all.execute(), [], 'no tenant is left on the connection')
})

t.test('it is one trip to the database', async (t) => {
  const { pool, seenBy, mine } = await setUp(t)
  const client = await pool.connect()
  let trips = 0
  client.connection.on('readyForQuery', () => trips++)
  client.release()
  await seenBy(mine)
  t.equal(trips, 1)
})

t.test('the setting is gone after each kind of error', async (t) => {
  const { db, all, mine, seenBy } = await setUp(t)
  const unserializable = {
    toPostgres() {
      throw new Error('no value')
    },
  }
  for (const query of [
    sql`select 1 / 0`,
    sql`no statement`,
    sql`select 1; select 2`,
    sql`select ${unserializable}::text`,
    sql`select text::int from tenant_rows`,
    sql`copy tenant_rows from stdin`,
  ]) {
    await t.rejects(forTenant(db, mine, query.compile(db)))
    t.same(await all.execute(), [])
    t.same(await seenBy(mine), [mine], 'the connection serves on')
  }
})

t.test('with `active` a tenant that is not there or not active is refused, and the query does nothing', async (t) => {
  const { db, mine, other, all } = await setUp(t)
  await sql`create table shared (text text)`.execute(db)
  await sql`update tenants set is_active = false where id = ${other}`.execute(db)
  const write = sql`insert into shared values ('x')`.compile(db)
  for (const id of [other, randomUUID()]) {
    await t.rejects(forTenant(db, id, all, { active: true }), { code: 'TENANT_INACTIVE', statusCode: 403 })
    await t.rejects(forTenant(db, id, write, { active: true }), TenantInactiveError)
  }
  t.same((await sql`select from shared`.execute(db)).rows, [])
  t.same((await forTenant(db, mine, all, { active: true })).rows, [{ text: mine }])
  const fails = sql`select 1 / 0`.compile(db)
  await t.rejects(forTenant(db, mine, fails, { active: true }), { code: '22012' }, 'the error of the query itself')
})

t.test('a constraint that waits for the end is reported', async (t) => {
  const { db, mine, all } = await setUp(t)
  await sql`alter table tenant_rows add constraint tenant_rows_text unique (tenant_id, text) deferrable initially deferred`.execute(
    db,
  )
  const again = db.insertInto('tenant_rows').values({ tenant_id: mine, text: mine })
  await t.rejects(forTenant(db, mine, again), { code: '23505' })
  t.same((await forTenant(db, mine, all)).rows, [{ text: mine }])
})

t.test('it refuses what is no UUID, a transaction, and a query that sets the tenant of the session', async (t) => {
  const { db, mine, all } = await setUp(t)
  for (const id of ['', 'x', `${mine}'`, undefined, [mine]]) {
    await t.rejects(forTenant(db, id as string, all), { name: 'TypeError', message: 'The tenant id is not a UUID' })
  }
  await db.transaction().execute(async (trx) => {
    await t.rejects(forTenant(trx, mine, all), { name: 'TypeError', message: /setTenant/ })
  })
  for (const query of [sql`select set_config('app.tenant_id', ${mine}, false)`, sql`set app.tenant_id = 'x'`]) {
    await t.rejects(forTenant(db, mine, query.compile(db)), { name: 'TypeError', message: /sets a tenant itself/ })
  }
})

t.test("what logs Kysely's queries sees its text", async (t) => {
  const { pool, mine, all } = await setUp(t)
  const texts: string[] = []
  const db: Db = new Kysely({
    dialect: new PostgresDialect({ pool }),
    log: ({ query }) => void texts.push(`${query.sql}`),
  })
  await forTenant(db, mine, all)
  t.same(texts, [all.compile().sql])
})

/** 512 visits in random order, some without a tenant and some that fail, of which each sees its own row alone. */
async function visits(t: Test, db: Db) {
  const { ids, all, seenBy } = await rows(db, 64)
  const right = await Promise.all(
    Array.from({ length: 8 }, () => ids)
      .flat()
      .sort(() => Math.random() - 0.5)
      .map(async (id) => {
        const chance = Math.random()
        if (chance < 0.2) return (await all.execute()).length === 0
        if (chance < 0.4) return forTenant(db, id, sql`select 1 / 0`.compile(db)).catch(({ code }) => code === '22012')
        const seen = chance < 0.6 ? await withTenant(db, id, (trx) => texts(trx)) : await seenBy(id)
        return seen.length === 1 && seen[0] === id
      }),
  )
  t.equal(right.filter(Boolean).length, 512)
}

const texts = async (db: Db) => (await db.selectFrom('tenant_rows').select('text').execute()).map(({ text }) => text)

t.test('64 tenants at once over 8 connections of the service', async (t) => {
  const app = await build(t, {
    DATABASE_URL: await database(t),
    DATABASE_POOL_MAX: '8',
    DATABASE_CONNECT_TIMEOUT_MS: '60000',
  })
  await visits(t, app.db as unknown as Db)
})

t.test('and over two connections of PgBouncer', needsPgbouncer, async (t) => {
  const app = await build(t, { ...(await pooled(t)), DATABASE_POOL_MAX: '8', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  await visits(t, app.db as unknown as Db)
})

t.test('no cancellation, whenever it comes, leaves the tenant on the connection, or half a write', async (t) => {
  const { db, pool, mine, all } = await setUp(t, { max: 2 })
  const busy = await pool.connect()
  const { rows: pids } = await busy.query<{ pid: number }>('select pg_backend_pid() as pid')
  busy.release()
  let isOver = false
  const storm = (async () => {
    const canceller = new pg.Client({ connectionString: pool.options.connectionString })
    await canceller.connect()
    while (!isOver) await canceller.query('select pg_cancel_backend($1)', [pids[0]?.pid])
    await canceller.end()
  })()
  let [done, cancelled] = [0, 0]
  for (let n = 0; n < 300; n++) {
    const write = db.insertInto('tenant_rows').values({ tenant_id: mine, text: `${n}` })
    await forTenant(db, mine, write).then(
      () => done++,
      ({ code }) => {
        if (code !== '57014') throw new Error(code)
        cancelled++
      },
    )
  }
  isOver = true
  await storm
  const seen = await until(() => forTenant(db, mine, all).catch(() => undefined), Boolean)
  t.equal(seen?.rows.length, done + 1)
  t.equal(done + cancelled, 300)
  t.same(await all.execute(), [])
})

t.test('a connection that ends meanwhile rejects, and costs a connection', async (t) => {
  const app = await build(t, { DATABASE_URL: await database(t) })
  const db = app.db as unknown as Db
  const { mine, all } = await rows(db)
  await t.rejects(forTenant(db, mine, sql`select pg_terminate_backend(pg_backend_pid()) from tenant_rows`.compile(db)))
  t.same((await forTenant(db, mine, all)).rows, [{ text: mine }])
  t.same(await all.execute(), [])
})

t.test('a statement that opens a transaction leaves none to the next user', async (t) => {
  const app = await build(t, { DATABASE_URL: await database(t), DATABASE_POOL_MAX: '1' })
  const db = app.db as unknown as Db
  const { mine, all } = await rows(db)
  await forTenant(db, mine, sql`begin`.compile(db))
  t.same(await all.execute(), [])
})

t.test('on a server that takes no writes it reads', async (t) => {
  const { db, seenBy, mine } = await setUp(t)
  await sql`set default_transaction_read_only = on`.execute(db)
  t.same(await seenBy(mine), [mine])
  await t.rejects(forTenant(db, mine, db.deleteFrom('tenant_rows')), { code: '25006' })
})
