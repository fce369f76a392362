import { Kysely, PostgresDialect, sql } from 'kysely'
import t from 'tap'
import { transact } from '../../src/transact/transact.ts'
import { database, query } from '../support/helper.ts'
import { plainPool } from '../support/plain-pool.ts'

// No app in this process, and nothing that it would have set up.
t.test('without the app, too, a lost connection is tried again', async (t) => {
  const connectionString = await database(t)
  const pool = plainPool(connectionString)
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  let runs = 0
  await transact(db, async (trx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)
    if (++runs === 1) await query(connectionString, `select pg_terminate_backend(${rows[0]?.pid}, 5000)`)
    await sql`select 1`.execute(trx)
  })
  t.equal(runs, 2)
})
