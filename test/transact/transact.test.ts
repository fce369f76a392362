import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { transact, UnknownOutcomeError } from '../../src/transact/transact.ts'
import { build } from '../support/app.ts'
import { database, event, query, until } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'

interface Tables {
  accounts: { id: number; balance: number }
  transfers: { id: number; debit: number; credit: number; amount: number }
}

const TABLES = `
  create table accounts (id int primary key, balance int not null);
  create table transfers (id int, debit int, credit int, amount int);
  insert into accounts select n, 1000 from generate_series(1, 10) n`

/** The service's own pool on two tables, and what happened to it on a connection of the test's. */
async function bank(t: Test, url?: string) {
  const DATABASE_URL = url ?? (await database(t))
  await query(DATABASE_URL, TABLES)
  const app = await build(t, { DATABASE_URL, DATABASE_POOL_MAX: '8', LOG_LEVEL: 'silent' })
  const transfers = async () =>
    (await query<{ id: number }>(DATABASE_URL, 'select id from transfers')).map(({ id }) => id)
  const clients = new Map<number, pg.PoolClient & { processID: number }>()
  app.pg.pool.on('acquire', (client) => {
    const known = client as pg.PoolClient & { processID: number }
    clients.set(known.processID, known)
  })
  /** Until the news has reached the client too. */
  const terminate = async (pid: number) => {
    const gone = event(clients.get(pid) as pg.PoolClient, 'end')
    await query(DATABASE_URL, `select pg_terminate_backend(${pid}, 5000)`)
    await gone
  }
  return { db: app.db as unknown as Kysely<Tables>, url: DATABASE_URL, transfers, terminate }
}

const pid = async (trx: Transaction<Tables>) =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)).rows[0]?.pid as number
const record = (trx: Transaction<Tables>, id: number) =>
  trx.insertInto('transfers').values({ id, debit: 1, credit: 2, amount: 0 }).execute()

/** Resolves for all once `count` have come; who comes later does not wait. */
function barrier(count: number) {
  const { promise, resolve } = Promise.withResolvers<void>()
  return async () => {
    if (--count === 0) resolve()
    await promise
  }
}

t.test('a serialization failure is tried again', async (t) => {
  const { db, transfers } = await bank(t)
  const meet = barrier(2)
  let runs = 0
  const one = () =>
    transact(
      db,
      async (trx) => {
        runs++
        const { length } = await trx.selectFrom('transfers').select('id').execute()
        await meet()
        await record(trx, length)
      },
      { isolation: 'serializable' },
    )
  await Promise.all([one(), one()])
  t.equal(runs, 3)
  t.same((await transfers()).sort(), [0, 1], 'as if one had come after the other')
})

t.test('a deadlock is tried again', async (t) => {
  const { db, url } = await bank(t)
  const meet = barrier(2)
  let runs = 0
  const move = (ids: number[]) =>
    transact(db, async (trx) => {
      runs++
      for (const id of ids) {
        await trx.updateTable('accounts').set({ balance: sql`balance + 1` }).where('id', '=', id).execute()
        await meet()
      }
    })
  await Promise.all([move([1, 2]), move([2, 1])])
  t.equal(runs, 3)
  t.same(await query(url, 'select balance from accounts where id <= 2'), [{ balance: 1002 }, { balance: 1002 }])
})

t.test('a connection that is lost while it opens is tried again, as often as was asked for', async (t) => {
  const opened: Socket[] = []
  const server = createServer((socket) => opened.push(socket.destroy())).listen(0, '127.0.0.1')
  await event(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const pool = new pg.Pool({ host: '127.0.0.1', port, user: 'nobody' })
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  const outcome = transact(db, async () => t.fail('there is no transaction'), { attempts: 2, maxDelayMs: 1 })
  await t.rejects(outcome, /^Connection terminated|ECONNRESET/)
  t.equal(opened.length, 2)
})

t.test('it gives up after as many attempts as it was given, with the last error', async (t) => {
  const { db } = await bank(t)
  let runs = 0
  const failing = transact(
    db,
    async (trx) => {
      runs++
      await sql`do $$ begin raise exception 'no' using errcode = '40001'; end $$`.execute(trx)
    },
    { attempts: 4, maxDelayMs: 10 },
  )
  await t.rejects(failing, { code: '40001' })
  t.equal(runs, 4)
})

t.test("the caller's own errors and those of constraints are not tried again", async (t) => {
  const { db, transfers } = await bank(t)
  const own = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
  const failures: [{ code: string } | { name: string }, (trx: Transaction<Tables>) => Promise<unknown>][] = [
    [{ code: own.code }, () => Promise.reject(own)],
    [{ code: '23505' }, (trx) => trx.insertInto('accounts').values({ id: 1, balance: 0 }).execute()],
    // An error that the caller hides leaves nothing to commit, and COMMIT alone would not say so.
    [{ name: 'AbortedTransactionError' }, (trx) => sql`select 1 / 0`.execute(trx).catch(() => {})],
  ]
  for (const [expected, fail] of failures) {
    let runs = 0
    const failing = transact(db, async (trx) => {
      runs++
      await record(trx, 1)
      await fail(trx)
    })
    await t.rejects(failing, expected)
    t.equal(runs, 1)
  }
  t.same(await transfers(), [])
})

t.test('a backend terminated before COMMIT: tried again, and applied once', async (t) => {
  const { db, transfers, terminate } = await bank(t)
  let runs = 0
  await transact(
    db,
    async (trx) => {
      const self = await pid(trx)
      await record(trx, 1)
      // Between two statements, in the middle of one, and between the last one and COMMIT.
      if (++runs === 1) {
        await terminate(self)
        await record(trx, 2)
      }
      if (runs === 2) await Promise.all([sql`select pg_sleep(10)`.execute(trx), terminate(self)])
      if (runs === 3) await terminate(self)
    },
    { attempts: 4 },
  )
  t.equal(runs, 4)
  t.same(await transfers(), [1])
})

t.test('a backend terminated during COMMIT: an unknown outcome, not tried again', async (t) => {
  const { db, url, transfers, terminate } = await bank(t)
  await query(
    url,
    `create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(10); return null; end';
     create constraint trigger slow after insert on transfers deferrable initially deferred
       for each row execute function slow()`,
  )
  let runs = 0
  let self = 0
  const unknown = transact(db, async (trx) => {
    runs++
    self = await pid(trx)
    await record(trx, 1)
  })
  unknown.catch(() => {})
  const committing = () =>
    query(url, `select from pg_stat_activity where pid = ${self} and query = 'commit' and state = 'active'`)
  await until(committing, ({ length }) => length === 1)
  await terminate(self)
  await t.rejects(unknown, { code: 'UNKNOWN_OUTCOME', cause: { code: '57P01' } })
  t.equal(runs, 1)
  t.same(await transfers(), [], 'this time it is not in the database')
})

t.test('a connection lost when COMMIT is done but not yet answered: the same error', async (t) => {
  // A server that waits for a standby that never comes has committed when it is told to stop.
  const postgres = await startPostgres({
    settings: { wal_level: 'replica', max_wal_senders: '1', synchronous_standby_names: 'nobody' },
  })
  t.teardown(() => postgres.close())
  const { db, url, transfers, terminate } = await bank(t, postgres.url)
  let self = 0
  const unknown = transact(db, async (trx) => {
    self = await pid(trx)
    await sql`set local synchronous_commit = on`.execute(trx)
    await record(trx, 1)
  })
  unknown.catch(() => {})
  const waiting = () => query(url, `select from pg_stat_activity where pid = ${self} and wait_event = 'SyncRep'`)
  await until(waiting, ({ length }) => length === 1)
  await terminate(self)
  await t.rejects(unknown, { name: 'UnknownOutcomeError', code: 'UNKNOWN_OUTCOME', cause: Error })
  t.same(await transfers(), [1], 'this time it is in the database')
})

t.test('a backend terminated after COMMIT does not disturb the next transaction', async (t) => {
  const { db, url, transfers } = await bank(t)
  for (const id of [1, 2, 3]) {
    const self = await transact(db, async (trx) => {
      await record(trx, id)
      return pid(trx)
    })
    await query(url, `select pg_terminate_backend(${self})`)
  }
  t.same(await transfers(), [1, 2, 3])
})

t.test(
  '3000 transfers under random terminations: every sum is right, and every outcome known or said not to be',
  async (t) => {
    const { db, url } = await bank(t)
    const outcomes = { done: new Set<number>(), unknown: new Set<number>(), failed: new Set<number>() }
    const ids = Array.from({ length: 3_000 }, (_, id) => id)
    const any = () => 1 + Math.floor(Math.random() * 10)
    let retries = -ids.length

    async function worker(): Promise<void> {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        const transfer = { id, debit: any(), credit: any(), amount: any() }
        const moved = transact(
          db,
          async (trx) => {
            retries++
            const { debit, credit, amount } = transfer
            await trx
              .updateTable('accounts')
              .set({ balance: sql`balance - ${amount}::int` })
              .where('id', '=', debit)
              .execute()
            await trx
              .updateTable('accounts')
              .set({ balance: sql`balance + ${amount}::int` })
              .where('id', '=', credit)
              .execute()
            await trx.insertInto('transfers').values(transfer).execute()
          },
          { attempts: 10, maxDelayMs: 50, isolation: id % 2 ? 'serializable' : 'read committed' },
        )
        const outcome = await moved.then(
          () => 'done' as const,
          (err) => (err instanceof UnknownOutcomeError ? 'unknown' : 'failed'),
        )
        outcomes[outcome].add(id)
      }
    }

    let terminated = 0
    const stop = new AbortController()
    const chaos = (async () => {
      const one = `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null order by random() limit 1`
      while (!stop.signal.aborted) {
        terminated += (await query(url, one)).length
        await sleep(5 + Math.random() * 20)
      }
    })()
    await Promise.all(Array.from({ length: 8 }, worker))
    stop.abort()
    await chaos

    const rows = await query<{ id: number }>(url, 'select id from transfers')
    const applied = new Set(rows.map(({ id }) => id))
    t.comment({
      terminated,
      retries,
      done: outcomes.done.size,
      unknown: outcomes.unknown.size,
      failed: outcomes.failed.size,
    })
    t.ok(terminated > 20)
    t.equal(rows.length, applied.size, 'nothing applied twice')
    t.same(outcomes.done.difference(applied), new Set(), 'nothing lost that was said to be done')
    t.same(outcomes.failed.intersection(applied), new Set(), 'nothing applied that was said to have failed')
    t.same(
      await query(
        url,
        `select id from accounts where balance <> 1000
         + coalesce((select sum(amount) from transfers where credit = accounts.id), 0)
         - coalesce((select sum(amount) from transfers where debit = accounts.id), 0)`,
      ),
      [],
      'every balance is what its transfers say',
    )
    t.same(await query(url, 'select sum(balance)::int from accounts'), [{ sum: 10_000 }])
  },
)

t.test(
  'a transaction whose server connection is terminated is tried again over PgBouncer',
  needsPgbouncer,
  async (t) => {
    const variables = await pooled(t)
    await query(variables.DATABASE_MIGRATION_URL, 'create table once (slug text)')
    const app = await build(t, variables)
    let runs = 0
    await transact(app.db, async (trx) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)
      await sql`insert into once values ('a')`.execute(trx)
      if (++runs > 1) return
      await query(variables.DATABASE_MIGRATION_URL, `select pg_terminate_backend(${rows[0]?.pid}, 5000)`)
      await sql`select 1`.execute(trx)
    })
    t.equal(runs, 2)
    t.same(await query(variables.DATABASE_MIGRATION_URL, 'select slug from once'), [{ slug: 'a' }])
  },
)

t.test('a client is told that the outcome is not known', async (t) => {
  const app = await build(t, {}, async (fastify) => {
    fastify.get('/', async () => {
      throw new UnknownOutcomeError(new Error('hunter2'))
    })
  })
  const answer = await app.inject('/')
  t.match(answer, { statusCode: 503, headers: { 'retry-after': '1' } })
  t.match(answer.json(), { code: 'UNKNOWN_OUTCOME', message: /is in the database, or is not/ })
  t.match(
    app.logs.filter(({ level }) => level > 30),
    [{ level: 40, err: { cause: { message: 'hunter2' } } }],
  )
})
