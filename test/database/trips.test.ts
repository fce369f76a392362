import { type Kysely, sql, type Transaction } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { unread } from '../../src/database/opening.ts'
import { build } from '../support/app.ts'
import { database } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'

interface Tables {
  trip_rows: { text: string }
}
type Db = Kysely<Tables>

const FAILS = new Error('of the caller')

async function table(db: Db) {
  await db.schema.createTable('trip_rows').addColumn('text', 'text').execute()
  const add = (trx: Db, text: string) => trx.insertInto('trip_rows').values({ text }).execute()
  const texts = async (trx: Db = db) =>
    (await trx.selectFrom('trip_rows').select('text').execute()).map(({ text }) => text)
  return { db, add, texts }
}

/** A service with one connection, on which the trips are counted. */
async function setUp(t: Test) {
  const app = await build(t, { DATABASE_URL: await database(t), DATABASE_POOL_MAX: '1' })
  const made = await table(app.db as unknown as Db)
  const client = await app.pg.connect()
  let trips = 0
  client.connection.on('readyForQuery', () => trips++)
  client.release()
  const count = async (work: () => Promise<unknown>) => {
    const before = trips
    await work()
    return trips - before
  }
  return { app, count, ...made }
}

const setting = (name: string, value: string) => sql`select set_config(${name}, ${value}, true)`
const read = (name: string) => sql<{ value: string }>`select current_setting(${name}, true) as value`

t.test('BEGIN, and what nobody reads, go out with the first statement; COMMIT goes alone', async (t) => {
  const { db, add, texts, count } = await setUp(t)
  const one = () => db.transaction().execute((trx) => add(trx, 'a'))
  t.equal(await count(one), 2)
  const set = (trx: Transaction<Tables>) => trx.executeQuery(unread(setting('a.b', 'set').compile(trx)))
  const two = () =>
    db
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (trx) => {
        await set(trx)
        t.same((await read('transaction_isolation').execute(trx)).rows, [{ value: 'serializable' }])
        t.same((await read('a.b').execute(trx)).rows, [{ value: 'set' }])
        await set(trx)
        await add(trx, 'b')
      })
  t.equal(await count(two), 5, 'later it goes at once')
  const nothing = async () => {
    await db.transaction().execute(set)
    await t.rejects(
      db.transaction().execute(() => Promise.reject(FAILS)),
      FAILS,
    )
  }
  t.equal(await count(nothing), 0, 'a transaction without a statement')
  t.same(await texts(), ['a', 'b'])
})

t.test('a BEGIN that fails: no statement runs alone, whoever goes on', async (t) => {
  const { db, add, texts, count } = await setUp(t)
  await db.connection().execute(async (connection) => {
    await sql`begin`.execute(connection)
    await t.rejects(sql`select 1 / 0`.execute(connection))
    // In a transaction that has failed BEGIN is refused.
    const first = connection.transaction().execute(async (trx) => {
      await t.rejects(add(trx, 'first'), { code: '25P02' })
      t.equal(await count(() => t.rejects(add(trx, 'second'), { code: '25P02' })), 0, 'it is not even sent')
    })
    await t.rejects(first, { code: '25P02' }, 'nor is COMMIT')
    await connection.transaction().execute((trx) => add(trx, 'next'))
  })
  t.same(await texts(), ['next'])
})

t.test('the same where it goes out by itself', async (t) => {
  const { db, add, texts } = await setUp(t)
  await db.connection().execute(async (connection) => {
    await sql`begin`.execute(connection)
    await t.rejects(sql`select 1 / 0`.execute(connection))
    const first = connection.transaction().execute(async (trx) => {
      await t.rejects(sql`select 1; select 2`.execute(trx), { code: '25P02' })
      await add(trx, 'second')
    })
    await t.rejects(first, { code: '25P02' })
  })
  t.same(await texts(), [])
})

t.test('a statement that nobody waited for: the error of its BEGIN is that of the transaction', async (t) => {
  const { db, add, texts } = await setUp(t)
  const left = db
    .transaction()
    // PostgreSQL has no such level.
    .setIsolationLevel('snapshot')
    .execute(async (trx) => {
      add(trx, 'left').catch(() => {})
    })
  await t.rejects(left, { code: '42601' })
  t.same(await texts(), [])
})

t.test(
  'statements that nobody waited for neither run alone nor commit once the transaction is rolled back',
  async (t) => {
    const { db, add, texts } = await setUp(t)
    const several = (trx: Db) =>
      sql`insert into trip_rows values ('a'); insert into trip_rows values ('b')`.execute(trx)
    const left = async (trx: Db) => {
      several(trx).catch(() => {})
      throw FAILS
    }
    await t.rejects(db.transaction().execute(left), FAILS)
    const all = db
      .transaction()
      .execute((trx) => Promise.all([sql`select 1 / 0`.execute(trx), add(trx, 'c'), add(trx, 'd')]))
    await t.rejects(all, { code: '22012' })
    t.same(await texts(), [])
  },
)

/** After this error Kysely neither commits nor rolls back. */
function abortedError(db: Db): Promise<Error> {
  return db
    .transaction()
    .execute((trx) => sql`select 1 / 0`.execute(trx).catch(() => {}))
    .then(
      () => new Error('committed'),
      (err) => err,
    )
}

t.test('a BEGIN that failed is nothing to the next one, and to the next user', async (t) => {
  const { db, add, texts } = await setUp(t)
  const aborted = await abortedError(db)
  await db.connection().execute(async (connection) => {
    const failed = connection
      .transaction()
      .setIsolationLevel('snapshot')
      .execute(async (trx) => {
        await t.rejects(add(trx, 'a'), { code: '42601' })
        throw aborted
      })
    await t.rejects(failed, aborted)
    await connection.transaction().execute((trx) => add(trx, 'b'))
  })
  await add(db, 'c')
  t.same(await texts(), ['b', 'c'])
})

t.test('what is held back is forgotten when the connection is lent again', async (t) => {
  const { app, db, texts } = await setUp(t)
  const aborted = await abortedError(db)
  t.equal(aborted.name, 'AbortedTransactionError')
  const left = db.transaction().execute(async (trx) => {
    await trx.executeQuery(unread(setting('a.b', 'left').compile(trx)))
    throw aborted
  })
  await t.rejects(left)
  t.not((await read('a.b').execute(db)).rows[0]?.value, 'left')
  t.same(await texts(), [])
  t.equal((await app.pg.query('select now() = statement_timestamp() as alone')).rows[0].alone, true)
})

t.test('first statements of all kinds', async (t) => {
  const { db, add, texts } = await setUp(t)
  await db.transaction().execute(async (trx) => {
    await sql`insert into trip_rows values ('one'); insert into trip_rows values ('two')`.execute(trx)
  })
  await t.rejects(
    db.transaction().execute(async (trx) => {
      await sql`insert into trip_rows values ('three'); insert into trip_rows values ('four')`.execute(trx)
      throw FAILS
    }),
    FAILS,
  )
  const trx = await db.startTransaction().execute()
  const saved = await trx.savepoint('saved').execute()
  await add(saved, 'undone')
  await saved.rollbackToSavepoint('saved').execute()
  await add(trx, 'kept')
  await trx.commit().execute()
  await db.transaction().execute(async (trx) => {
    await t.rejects(trx.selectFrom('trip_rows').selectAll().stream().next(), /cursor/)
    await add(trx, 'after')
  })
  await db.transaction().execute(async (trx) => {
    await trx.executeQuery(unread(setting('a.b', 'set').compile(trx)))
    await sql`insert into trip_rows values (current_setting('a.b')); select 1`.execute(trx)
  })
  await t.rejects(
    db.transaction().execute((trx) => sql`copy trip_rows from stdin`.execute(trx)),
    { code: '57014' },
  )
  await db
    .transaction()
    .setAccessMode('read only')
    .execute(async (trx) => {
      await t.rejects(add(trx, 'read only'), { code: '25006' })
    })
    .catch(() => {})
  await db.transaction().execute((trx) => trx.schema.createTable('trip_more').addColumn('n', 'integer').execute())
  t.same(await texts(), ['one', 'two', 'kept', 'after', 'set'])
})

t.test('a value that cannot be sent fails the transaction, and the connection serves on', async (t) => {
  const { db, add, texts } = await setUp(t)
  const bad = {
    toPostgres() {
      throw FAILS
    },
  }
  await t.rejects(
    db.transaction().execute(async (trx) => {
      await t.rejects(sql`select ${bad}::text`.execute(trx), FAILS)
      await add(trx, 'a')
    }),
    FAILS,
  )
  await db.transaction().execute((trx) => add(trx, 'b'))
  t.same(await texts(), ['b'])
})

t.test('no cancellation, whenever it comes, commits what was rolled back, or half of it', async (t) => {
  const url = await database(t)
  const app = await build(t, { DATABASE_URL: url, DATABASE_POOL_MAX: '1' })
  const { db, add, texts } = await table(app.db as unknown as Db)
  const { rows } = await app.pg.query('select pg_backend_pid() as pid')
  let isOver = false
  const storm = (async () => {
    const canceller = new pg.Client({ connectionString: url })
    await canceller.connect()
    while (!isOver) await canceller.query('select pg_cancel_backend($1)', [rows[0].pid])
    await canceller.end()
  })()
  const committed: string[] = []
  for (let n = 0; n < 200; n++) {
    const work = db.transaction().execute(async (trx) => {
      // Who does not mind the error of the first goes on.
      await add(trx, `${n} first`).catch(() => {})
      await add(trx, `${n} second`)
      if (n % 2) throw FAILS
    })
    await work.then(
      () => committed.push(`${n} first`, `${n} second`),
      () => {},
    )
  }
  isOver = true
  await storm
  t.same(await texts(), committed)
})

t.test('over two connections of PgBouncer, eight callers at once', needsPgbouncer, async (t) => {
  const app = await build(t, { ...(await pooled(t)), DATABASE_POOL_MAX: '8', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  const { db, add, texts } = await table(app.db as unknown as Db)
  const work = async (n: number) => {
    const trx = db.transaction().execute(async (trx) => {
      await trx.executeQuery(unread(setting('a.b', `${n}`).compile(trx)))
      if (n % 3 === 0) throw FAILS
      if (n % 3 === 1) await add(trx, `${n}`)
      t.equal((await read('a.b').execute(trx)).rows[0]?.value, `${n}`)
      if (n % 2) throw FAILS
    })
    await trx.catch((err) => err === FAILS || t.fail(err.message))
    t.notOk((await read('a.b').execute(db)).rows[0]?.value)
  }
  await Promise.all(Array.from({ length: 300 }, (_, n) => work(n)))
  const kept = Array.from({ length: 300 }, (_, n) => n).filter((n) => n % 6 === 4)
  t.same(
    (await texts()).map(Number).sort((a, b) => a - b),
    kept,
  )
})
