import { randomUUID } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import { type TenantColumns, tenantColumns } from '../src/database/columns.ts'
import { withTenant } from '../src/database/tenant.ts'
import { transact } from '../src/database/transact.ts'
import { build, database, query, Service } from './helper.ts'
import { needsPgbouncer, startPgbouncer } from './pgbouncer.ts'

/** A database of the test's own, reached over PgBouncer for the service and beside it for migrations. */
async function pooled(t: Test, { empty = false } = {}) {
  const direct = await database(t, { empty })
  const pgbouncer = await startPgbouncer(t, direct)
  return { DATABASE_URL: pgbouncer.url, DATABASE_MIGRATION_URL: direct, DATABASE_STATEMENT_TIMEOUT_MS: '0' }
}

t.test('three replicas migrate beside PgBouncer, and serve over it', needsPgbouncer, async (t) => {
  const variables = await pooled(t, { empty: true })
  const replicas = [1, 2, 3].map(() => new Service(t, variables))
  await Promise.all(replicas.map((replica) => replica.logged('ready')))
  const migrated = replicas.flatMap(({ logs }) => logs.filter(({ msg }) => msg === 'migrated'))
  t.equal(migrated.length, 1)
  for (const replica of replicas) {
    const health = await fetch(`${await replica.url()}/health`)
    t.match(await health.json(), { status: 'healthy' })
  }
})

t.test('a statement timeout is a startup parameter, which PgBouncer refuses', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const service = new Service(t, { ...variables, DATABASE_STATEMENT_TIMEOUT_MS: '1000' })
  t.equal(await service.exited, 1)
  t.match(service.logs.at(-1), { err: { message: 'unsupported startup parameter: statement_timeout' } })
})

t.test('64 tenants at once over two server connections see their own rows alone', needsPgbouncer, async (t) => {
  const app = await build(t, { ...(await pooled(t)), DATABASE_POOL_MAX: '8', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  const db = app.db as unknown as Kysely<{ notes: TenantColumns & { text: string } }>
  await db.schema.createTable('notes').$call(tenantColumns).addColumn('text', 'text').execute()
  await sql`call isolate_tenants('notes')`.execute(db)
  const ids = Array.from({ length: 64 }, () => randomUUID())
  for (const id of ids) {
    await sql`insert into tenants (id, slug, name) values (${id}, ${id}, 'A tenant')`.execute(db)
    await withTenant(db, id, (trx) => trx.insertInto('notes').values({ tenant_id: id, text: id }).execute())
  }
  const visits = await Promise.all(
    Array.from({ length: 8 }, () => ids)
      .flat()
      .sort(() => Math.random() - 0.5)
      .map(async (id) => {
        const query = db.selectFrom('notes').select('text')
        if (Math.random() < 0.3) return (await query.execute()).length === 0
        const seen = await withTenant(db, id, (trx) => trx.selectFrom('notes').select('text').execute())
        return seen.length === 1 && seen[0]?.text === id
      }),
  )
  t.equal(visits.filter((right) => right).length, 512)
})

t.test(
  'a transaction whose server connection is terminated is tried again over PgBouncer',
  needsPgbouncer,
  async (t) => {
    const variables = await pooled(t)
    const app = await build(t, variables)
    let runs = 0
    await transact(app.db, async (trx) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)
      await trx.insertInto('tenants').values({ slug: 'a', name: 'A' }).execute()
      if (++runs > 1) return
      await query(variables.DATABASE_MIGRATION_URL, `select pg_terminate_backend(${rows[0]?.pid}, 5000)`)
      await sql`select 1`.execute(trx)
    })
    t.equal(runs, 2)
    t.same(await query(variables.DATABASE_MIGRATION_URL, 'select slug from tenants'), [{ slug: 'a' }])
  },
)
