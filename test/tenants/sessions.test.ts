import { randomUUID } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { setTenant, withTenant } from '../../src/tenants/with-tenant.ts'
import { type App, build } from '../support/app.ts'
import { database, query } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'

interface Tables {
  session_rows: { tenant_id: string }
}

/** A service whose table has a row of each of two tenants. */
async function service(t: Test, variables: NodeJS.ProcessEnv & { DATABASE_URL: string }, direct: string) {
  const [mine, other] = [randomUUID(), randomUUID()]
  await query(direct, 'create table session_rows (tenant_id uuid not null)')
  await query(direct, `insert into session_rows values ('${mine}'), ('${other}')`)
  await query(direct, "call isolate_tenants('session_rows')")
  // A second row with the same text fails at COMMIT.
  await query(direct, 'create table said (what text unique deferrable initially deferred)')
  const app = await build(t, variables)
  return { app, db: app.db as unknown as Kysely<Tables>, mine, other }
}

const warnings = ({ logs }: App) => logs.filter(({ level, msg }) => level >= 40 && msg.includes('withTenant'))

/** As pg-query-stream: the text is that of its cursor. */
function streamed(text: string): pg.Query {
  const cursor = new pg.Query(text)
  const get = (target: pg.Query, key: string) => {
    const value = Reflect.get(target, key)
    return typeof value === 'function' ? value.bind(target) : value
  }
  return new Proxy(cursor, {
    get: (target, key) => (key === 'text' ? undefined : key === 'cursor' ? cursor : get(target, key as string)),
  })
}

/** Every way of user code to set a tenant for the session that the text or the values show. */
const WAYS: [name: string, run: (app: App, id: string) => Promise<unknown>][] = [
  ['app.pg.query', ({ pg }, id) => pg.query(`set app.tenant_id = '${id}'`)],
  ['quoted', ({ pg }, id) => pg.query(`SET SESSION "app"."tenant_id" TO '${id}'`)],
  ['set_config', ({ pg }, id) => pg.query(`select set_config('app.tenant_id', '${id}', false)`)],
  ['values', ({ pg }, id) => pg.query('select pg_catalog.set_config($1, $2, $3)', ['app.tenant_id', id, false])],
  [
    'a name',
    ({ pg }, id) =>
      pg.query({ name: randomUUID(), text: "select set_config('app.tenant_id', $1, false)", values: [id] }),
  ],
  ['a block', ({ pg }, id) => pg.query(`do $$ declare x int; begin execute 'set app.tenant_id = ''${id}'''; end $$`)],
  ['Kysely', ({ db }, id) => sql`set app.tenant_id = ${sql.lit(id)}`.execute(db)],
  ['Kysely, values', ({ db }, id) => sql`select set_config('app.tenant_id', ${id}, ${false})`.execute(db)],
  ['Kysely, a value', ({ db }, id) => sql`select set_config('app.tenant_id', ${id}, false)`.execute(db)],
  [
    'Kysely, one connection',
    ({ db }, id) => db.connection().execute((one) => sql`set app.tenant_id = ${sql.lit(id)}`.execute(one)),
  ],
  [
    'a transaction',
    ({ db }, id) => db.transaction().execute((trx) => sql`set app.tenant_id = ${sql.lit(id)}`.execute(trx)),
  ],
  [
    'a transaction that has a tenant',
    ({ db }, id) =>
      withTenant(db, randomUUID(), (trx) => sql`select set_config('app.tenant_id', ${id}, false)`.execute(trx)),
  ],
  [
    'a client',
    async ({ pg }, id) => {
      const client = await pg.connect()
      await client.query(`set app.tenant_id = '${id}'`)
      client.release()
    },
  ],
  [
    'values beside those of an object',
    ({ pg }, id) =>
      pg.query({ text: "select set_config('app.tenant_id', $1, $2)", values: [id, true] }, [id, false] as unknown[]),
  ],
  ...['select 1; commit', '/* done */ commit', 'end'].map((commit): (typeof WAYS)[number] => [
    commit,
    async ({ pg }, id) => {
      const client = await pg.connect()
      await client.query('begin')
      await client.query(`set app.tenant_id = '${id}'`)
      await client.query(commit)
      client.release()
    },
  ]),
  [
    'a client that calls back',
    async ({ pg }, id) => {
      const client = await pg.connect()
      await new Promise<void>((resolve, reject) => {
        client.query(`set app.tenant_id = '${id}'`, (err) => (err ? reject(err) : resolve()))
      })
      client.release()
    },
  ],
]

/** Behind a pooler it cannot end in time. */
const DIRECT: typeof WAYS = [
  [
    'a stream',
    async ({ pg }, id) => {
      const client = await pg.connect()
      const query = streamed(`select set_config('app.tenant_id', '${id}', false)`)
      const ended = new Promise((resolve) => query.once('end', resolve))
      client.query(query)
      await ended
      client.release()
    },
  ],
]

/** How many rows each of many users at once sees that sets no tenant. */
async function seen(db: Kysely<Tables>, users = 64): Promise<number> {
  const answers = await Promise.all(
    Array.from({ length: users }, () => db.selectFrom('session_rows').selectAll().execute()),
  )
  return answers.flat().length
}

t.test('a tenant that is set for the session is gone for the next user of the connection', async (t) => {
  const DATABASE_URL = await database(t)
  const { app, db, mine } = await service(t, { DATABASE_URL, DATABASE_POOL_MAX: '1' }, DATABASE_URL)
  for (const [name, run] of [...WAYS, ...DIRECT]) {
    await run(app, mine)
    t.equal(await seen(db, 4), 0, name)
  }
  t.equal(warnings(app).length, 1, 'and the log says so once')
})

t.test('until the connection is given back it is as PostgreSQL says', async (t) => {
  const DATABASE_URL = await database(t)
  const { app, mine } = await service(t, { DATABASE_URL, DATABASE_POOL_MAX: '1' }, DATABASE_URL)
  const client = await app.pg.connect()
  await client.query(`set app.tenant_id = '${mine}'`)
  t.same((await client.query('select * from session_rows')).rows, [{ tenant_id: mine }])
  await client.query('begin')
  await client.query('commit')
  t.equal((await client.query('commit')).command, 'COMMIT', 'outside of a transaction')
  t.same((await client.query('select * from session_rows')).rows, [{ tenant_id: mine }])
  client.release()
})

t.test('who sets it for the transaction alone, or reads it, keeps the connection', async (t) => {
  const DATABASE_URL = await database(t)
  const { app, db, mine } = await service(t, { DATABASE_URL, DATABASE_POOL_MAX: '1' }, DATABASE_URL)
  const pid = async () => (await app.pg.query('select pg_backend_pid() as pid')).rows[0].pid
  const before = await pid()
  await withTenant(app.db, mine, (trx) => sql`select current_setting('app.tenant_id')`.execute(trx))
  await app.pg.transact((client) => client.query("select set_config('app.tenant_id', $1, true)", [mine]))
  const local = sql`select set_config('app.tenant_id', ${mine}, ${true})`
  await app.db.transaction().execute((trx) => local.execute(trx))
  await app.pg.transact((client) => client.query(`set local app.tenant_id = '${mine}'`))
  await app.pg.query("select set_config('application_name', 'app', false)")
  await db.updateTable('session_rows').set({ tenant_id: mine }).execute()
  t.equal(await pid(), before)
  t.same(warnings(app), [])
})

t.test('behind a pooler no other client gets a tenant that is set for the session', needsPgbouncer, async (t) => {
  const variables = { ...(await pooled(t)), DATABASE_POOL_MAX: '8', DATABASE_CONNECT_TIMEOUT_MS: '60000' }
  const { app, db, mine } = await service(t, variables, variables.DATABASE_MIGRATION_URL)
  for (const [name, run] of WAYS) {
    // Users of the two connections of the server, while it is set and after it.
    const [during] = await Promise.all([seen(db), ...Array.from({ length: 8 }, () => run(app, mine))])
    t.equal(during, 0, name)
    t.equal(await seen(db, 8), 0, name)
  }
  t.equal(warnings(app).length, 1)
})

t.test('such a statement answers, fails and commits as any other', needsPgbouncer, async (t) => {
  const direct = await database(t)
  const over = await pooled(t)
  for (const [settings, url] of [
    [{ DATABASE_URL: direct }, direct],
    [over, over.DATABASE_MIGRATION_URL],
  ] as const) {
    const { app, mine } = await service(t, settings, url)
    const set = `select set_config('app.tenant_id', '${mine}', false)`
    t.same((await app.pg.query(set)).rows, [{ set_config: mine }])
    await app.pg.query(`insert into said ${set}`)
    t.same(await query(url, 'select what from said'), [{ what: mine }])
    await t.rejects(app.pg.query(`${set}, 1 / 0`), { code: '22012' }, 'its own error')
    await t.rejects(app.pg.query(`insert into said ${set}`), { code: '23505' }, 'an error of COMMIT')
    await t.resolves(app.pg.query(`begin; ${set}; commit`), 'a batch with a transaction of its own')
    await t.rejects(app.pg.query(`${set}; begin; select 1 / 0`), { code: '22012' })
    const client = await app.pg.connect()
    await Promise.all([
      client.query('begin'),
      client.query(`insert into said select set_config('app.tenant_id', 'x', false)`),
    ])
    await client.query('rollback')
    t.equal((await query(url, 'select what from said')).length, 1, 'sent before the answer to another')
    const submitted = new pg.Query(set)
    const ended = new Promise((resolve) => submitted.once('end', resolve))
    client.query(submitted)
    await ended
    client.release()
  }
})

t.test('a transaction of the service commits with its tenant', needsPgbouncer, async (t) => {
  const { DATABASE_URL, ...rest } = await pooled(t)
  const { db, mine } = await service(t, { DATABASE_URL, ...rest }, rest.DATABASE_MIGRATION_URL)
  await db.connection().execute(async (one) => {
    await sql`set app.tenant_id = ${sql.lit(mine)}`.execute(one)
    await one.transaction().execute(async (trx) => {
      await setTenant(trx, mine)
      await trx.insertInto('session_rows').values({ tenant_id: mine }).execute()
    })
  })
  t.equal((await withTenant(db, mine, (trx) => trx.selectFrom('session_rows').selectAll().execute())).length, 2)
})
