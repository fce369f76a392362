import { randomUUID } from 'node:crypto'
import { Kysely, PostgresDialect, sql } from 'kysely'
import t, { type Test } from 'tap'
import { type TenantColumns, tenantColumns } from '../../src/tenants/columns.ts'
import { setTenant, TenantInactiveError, withTenant } from '../../src/tenants/with-tenant.ts'
import { build } from '../support/app.ts'
import { database } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'
import { plainPool } from '../support/plain-pool.ts'

interface Tables {
  tenant_rows: TenantColumns & { text: string }
}

const FAILS = new Error('of the caller')

/** A table of notes, one of each tenant, and as many connections as asked for. */
async function notes(t: Test, { tenants = 2, max = 1 } = {}) {
  const url = await database(t)
  const ids = Array.from({ length: tenants }, () => randomUUID())
  const pool = plainPool(url, max)
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  await db.schema.createTable('tenant_rows').$call(tenantColumns).addColumn('text', 'text').execute()
  await sql`call isolate_tenants('tenant_rows')`.execute(db)
  for (const id of ids) {
    await sql`insert into tenants (id, slug, name) values (${id}, ${id}, 'A tenant')`.execute(db)
    await withTenant(db, id, (trx) => trx.insertInto('tenant_rows').values({ tenant_id: id, text: id }).execute())
  }
  const texts = async (executor: Kysely<Tables>) =>
    (await executor.selectFrom('tenant_rows').select('text').execute()).map(({ text }) => text)
  return { db, texts, ids, mine: ids[0] as string, other: ids[1] as string }
}

t.test('no tenant set: no rows, not all rows', async (t) => {
  const { db, texts, mine } = await notes(t)
  t.same(await texts(db), [])
  await t.rejects(db.insertInto('tenant_rows').values({ tenant_id: mine, text: 'x' }).execute(), { code: '42501' })
  t.equal((await db.deleteFrom('tenant_rows').executeTakeFirst()).numDeletedRows, 0n)
})

t.test('a tenant sees its own rows, and no row of a tenant whose id it guesses', async (t) => {
  const { db, texts, mine, other } = await notes(t)
  await withTenant(db, mine, async (trx) => {
    t.same(await texts(trx), [mine])
    t.same(await trx.selectFrom('tenant_rows').selectAll().where('tenant_id', '=', other).execute(), [])
    t.equal(
      (await trx.updateTable('tenant_rows').set({ text: 'x' }).where('tenant_id', '=', other).executeTakeFirst())
        .numUpdatedRows,
      0n,
    )
    t.equal((await trx.deleteFrom('tenant_rows').where('tenant_id', '=', other).executeTakeFirst()).numDeletedRows, 0n)
  })
  t.same(await withTenant(db, other, texts), [other])
  t.same(await withTenant(db, randomUUID(), texts), [], 'a tenant that is not there')
})

t.test('an insert or update into another tenant is refused', async (t) => {
  const { db, texts, mine, other } = await notes(t)
  const into = { tenant_id: other, text: 'x' }
  await t.rejects(
    withTenant(db, mine, (trx) => trx.insertInto('tenant_rows').values(into).execute()),
    { code: '42501' },
  )
  await t.rejects(
    withTenant(db, mine, (trx) => trx.updateTable('tenant_rows').set(into).execute()),
    { code: '42501' },
  )
  t.same(await withTenant(db, other, texts), [other])
})

t.test('the setting is gone after commit, rollback and error', async (t) => {
  const { db, texts, mine } = await notes(t)
  await withTenant(db, mine, texts)
  t.same(await texts(db), [], 'commit')
  await t.rejects(
    withTenant(db, mine, async () => {
      throw FAILS
    }),
    FAILS,
  )
  t.same(await texts(db), [], 'rollback')
  await t.rejects(
    withTenant(db, mine, (trx) => sql`select 1 / 0`.execute(trx)),
    { code: '22012' },
  )
  t.same(await texts(db), [], 'error of the database')
})

t.test('an id that is no UUID is an error, and reaches no query', async (t) => {
  const { db } = await notes(t)
  for (const id of ['', 'acme', `${randomUUID()}'`, undefined as unknown as string]) {
    await t.rejects(
      withTenant(db, id, async () => t.fail('ran')),
      new TypeError('The tenant id is not a UUID'),
    )
  }
})

t.test('an object that reads as one id and then as another reaches no query', async (t) => {
  const { db, mine, other } = await notes(t)
  let reads = 0
  const changing = { toString: () => (reads++ === 0 ? mine : other), toPostgres: () => other }
  await t.rejects(
    withTenant(db, changing as unknown as string, async () => t.fail('ran')),
    new TypeError('The tenant id is not a UUID'),
  )
  t.equal(reads, 0)
})

t.test('where the service says so, a tenant that is not active or not there is refused', async (t) => {
  const { db, texts, mine, other } = await notes(t)
  const ran = async () => t.fail('ran')
  t.same(await withTenant(db, mine, texts, { active: true }), [mine])
  await sql`update tenants set is_active = false where id = ${mine}`.execute(db)
  t.same(await withTenant(db, mine, texts), [mine], 'not elsewhere')
  for (const id of [mine, randomUUID()]) {
    await t.rejects(withTenant(db, id, ran, { active: true }), new TenantInactiveError())
  }
  await t.rejects(withTenant(db, '', ran, { active: true }), new TypeError('The tenant id is not a UUID'))
  const seen = await db.transaction().execute(async (trx) => {
    await setTenant(trx, other, { active: true })
    const before = await texts(trx)
    await t.rejects(setTenant(trx, mine, { active: true }), new TenantInactiveError())
    return [before, await texts(trx)]
  })
  t.same(seen, [[other], []], 'who goes on after the refusal has no tenant')
})

t.test('a tenant that is refused is a client without the right: 403, which says why', async (t) => {
  const app = await build(t, {}, async (routes) => {
    routes.get('/refused_tenant', () => withTenant(routes.db, randomUUID(), async () => [], { active: true }))
  })
  const answer = await app.inject('/refused_tenant')
  t.equal(answer.statusCode, 403)
  t.match(answer.json(), { code: 'TENANT_INACTIVE', message: 'The tenant is not active' })
})

t.test('an open transaction can be given a tenant', async (t) => {
  const { db, texts, mine } = await notes(t)
  const seen = await db.transaction().execute(async (trx) => {
    const before = await texts(trx)
    await setTenant(trx, mine)
    return [before, await texts(trx)]
  })
  t.same(seen, [[], [mine]])
})

t.test('the first error is told, not that of the rollback on a connection that is lost', async (t) => {
  const settings = { DATABASE_QUERY_TIMEOUT_MS: '300', DATABASE_STATEMENT_TIMEOUT_MS: '0' }
  const app = await build(t, { DATABASE_URL: await database(t), ...settings }, async (fastify) => {
    fastify.get('/nap', () => withTenant(fastify.db, randomUUID(), (trx) => sql`select pg_sleep(60)`.execute(trx)))
  })
  t.equal((await app.inject('/nap')).statusCode, 503)
  t.match(
    app.logs.find(({ msg }) => msg === 'backend unavailable'),
    { reason: 'timeout', err: { code: 'ETIMEDOUT' } },
  )
})

t.test('64 tenants at once over 8 connections, in random order, each see their own rows alone', async (t) => {
  const { db, texts, ids } = await notes(t, { tenants: 64, max: 8 })
  const visits = await Promise.all(
    Array.from({ length: 16 }, () => ids)
      .flat()
      .sort(() => Math.random() - 0.5)
      .map(async (id) => {
        if (Math.random() < 0.2) return texts(db).then((seen) => seen.length === 0)
        if (Math.random() < 0.2) {
          return withTenant(db, id, async () => {
            throw FAILS
          }).catch((err) => err === FAILS)
        }
        const seen = await withTenant(db, id, texts)
        return seen.length === 1 && seen[0] === id
      }),
  )
  t.equal(visits.filter((right) => right).length, 1024)
})

t.test('64 tenants at once over two server connections see their own rows alone', needsPgbouncer, async (t) => {
  const app = await build(t, { ...(await pooled(t)), DATABASE_POOL_MAX: '8', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  const db = app.db as unknown as Kysely<{ tenant_rows: TenantColumns & { text: string } }>
  await db.schema.createTable('tenant_rows').$call(tenantColumns).addColumn('text', 'text').execute()
  await sql`call isolate_tenants('tenant_rows')`.execute(db)
  const ids = Array.from({ length: 64 }, () => randomUUID())
  for (const id of ids) {
    await sql`insert into tenants (id, slug, name) values (${id}, ${id}, 'A tenant')`.execute(db)
    await withTenant(db, id, (trx) => trx.insertInto('tenant_rows').values({ tenant_id: id, text: id }).execute())
  }
  const visits = await Promise.all(
    Array.from({ length: 8 }, () => ids)
      .flat()
      .sort(() => Math.random() - 0.5)
      .map(async (id) => {
        const query = db.selectFrom('tenant_rows').select('text')
        if (Math.random() < 0.3) return (await query.execute()).length === 0
        const seen = await withTenant(db, id, (trx) => trx.selectFrom('tenant_rows').select('text').execute())
        return seen.length === 1 && seen[0]?.text === id
      }),
  )
  t.equal(visits.filter((right) => right).length, 512)
})
