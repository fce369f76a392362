import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Kysely, sql } from 'kysely'
import t from 'tap'
import type { DB } from '../../src/database/types.ts'
import { type App, build } from '../support/app.ts'
import { backends, database, event, query, until } from '../support/helper.ts'

interface Things {
  refused_things: { id: string; owner: number | null; slug: string; size: number; made: string; data: unknown }
}

/** The service, with a table that has a constraint of each kind, and a route that does what the body says to it. */
async function withThings(t: import('tap').Test): Promise<App> {
  const url = await database(t)
  await query(
    url,
    `create extension if not exists btree_gist;
    create table refused_owners (id int primary key);
    create table refused_things (
      id uuid primary key default gen_random_uuid(),
      owner int references refused_owners,
      slug varchar(9) not null unique,
      size smallint check (size > 0),
      made date,
      data jsonb,
      exclude using gist (made with =)
    )`,
  )
  return build(t, { DATABASE_URL: url }, async (fastify) => {
    const db = fastify.db as unknown as Kysely<DB & Things>
    fastify.post('/refused_things', async ({ body }) => {
      await db
        .insertInto('refused_things')
        .values(body as never)
        .execute()
      return {}
    })
    fastify.get<{ Params: { id: string } }>('/refused_things/:id', ({ params }) =>
      db.selectFrom('refused_things').selectAll().where('id', '=', params.id).executeTakeFirstOrThrow(),
    )
    fastify.get('/zero', () => sql`select 1 / 0`.execute(db))
    fastify.get('/rights', () => sql`set role pg_monitor; select * from refused_things`.execute(db))
    fastify.get<{ Params: { state: string } }>('/raise/:state', ({ params }) =>
      sql.raw(`do $$ begin raise exception 'hunter2' using errcode = '${params.state}'; end $$`).execute(db),
    )
  })
}

t.test('what PostgreSQL refuses is told to the client, without its value or the constraint', async (t) => {
  const app = await withThings(t)
  const post = (payload: object) => app.inject({ method: 'POST', url: '/refused_things', payload })
  t.equal((await post({ slug: 'hunter2', made: '2026-01-01' })).statusCode, 200)

  for (const [status, code, state, ask] of [
    [409, 'EXISTS', '23505', () => post({ slug: 'hunter2' })],
    [409, 'REFERENCE_CONFLICT', '23503', () => post({ slug: 'a', owner: 666 })],
    [409, 'OVERLAP', '23P01', () => post({ slug: 'b', made: '2026-01-01' })],
    [422, 'MISSING_VALUE', '23502', () => post({ slug: null })],
    [422, 'REFUSED_VALUE', '23514', () => post({ slug: 'c', size: -666 })],
    [400, 'INVALID_VALUE', '22P02', () => app.inject('/refused_things/hunter2')],
    [400, 'INVALID_VALUE', '22001', () => post({ slug: 'hunter2 and more' })],
    [400, 'INVALID_VALUE', '22003', () => post({ slug: 'd', size: 66_666 })],
    [400, 'INVALID_VALUE', '22007', () => post({ slug: 'e', made: 'hunter2' })],
    [400, 'INVALID_VALUE', '22008', () => post({ slug: 'f', made: '2026-02-31' })],
    [400, 'INVALID_VALUE', '22021', () => post({ slug: 'g\0' })],
    [400, 'INVALID_VALUE', '22P05', () => post({ slug: 'h', data: '{"a":"\\u0000"}' })],
  ] as const) {
    app.logs.length = 0
    const answer = await ask()
    t.equal(answer.statusCode, status, state)
    t.match(answer.json(), { statusCode: status, code, error: String, message: String })
    t.notMatch(answer.body, /hunter2|666|refused_things|slug|constraint/i)
    const lines = app.logs.filter(({ level }) => level >= 30)
    t.match(lines, [
      { level: 30, msg: 'request refused', code: state },
      { msg: 'request', status },
    ])
    // The ids are random, and can hold the digits.
    t.notMatch(JSON.stringify(lines.map(({ requestId, traceId, time, ...line }) => line)), /hunter2|666/)
    if (state === '23505') t.match(lines[0], { table: 'refused_things', constraint: 'refused_things_slug_key' })
  }

  const missing = await app.inject('/refused_things/00000000-0000-4000-8000-000000000000')
  t.same(missing.json(), { statusCode: 404, error: 'Not Found', message: 'Not Found' })
})

t.test('what another try can cure asks for it, what is the service’s own fault does not', async (t) => {
  const app = await withThings(t)
  for (const state of ['40001', '40P01', '55P03', '57014']) {
    app.logs.length = 0
    const answer = await app.inject(`/raise/${state}`)
    t.match(answer, { statusCode: 503, headers: { 'retry-after': '1' } }, state)
    t.match(
      app.logs.filter(({ level }) => level > 30),
      [{ level: 40 }],
    )
  }
  for (const url of ['/zero', '/raise/42501', '/raise/P0001', '/raise/22012']) {
    app.logs.length = 0
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 500, url)
    t.notMatch(answer.body, /hunter2/)
    t.match(
      app.logs.filter(({ level }) => level > 30),
      [{ level: 50, msg: 'request failed' }],
    )
  }
})

t.test('a connection to the database that is reset or refused is a backend’s', async (t) => {
  const url = new URL(await database(t))
  const { hostname, port } = url
  const clients: Socket[] = []
  const relay = createServer((client) => {
    clients.push(client.on('error', () => {}))
    const server = connect(Number(port), hostname)
    client
      .pipe(server)
      .on('error', () => {})
      .pipe(client)
    client.on('close', () => server.destroy())
  }).listen(0, '127.0.0.1')
  await event(relay, 'listening')
  url.port = String((relay.address() as AddressInfo).port)
  const app = await build(t, { DATABASE_URL: url.href }, async (fastify) => {
    fastify.get('/', async () => {
      await sql`select`.execute(fastify.db)
      return {}
    })
    fastify.get('/slow', () => sql`select pg_sleep(60)`.execute(fastify.db))
  })
  t.equal((await app.inject('/')).statusCode, 200)
  const slow = app.inject('/slow')
  const asleep = "select from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)'"
  await until(
    () => query(backends.database, asleep),
    ({ length }) => length > 0,
  )
  relay.close()
  for (const client of clients) client.resetAndDestroy()
  for (const [answer, code] of [
    [await slow, 'ECONNRESET'],
    [await app.inject('/'), 'ECONNREFUSED'],
  ] as const) {
    t.match(answer, { statusCode: 503, headers: { 'retry-after': '1' } }, code)
    t.match(
      app.logs.filter(({ msg }) => msg === 'backend unavailable').map(({ err }) => err),
      [{ code: 'ECONNRESET' }, { code: 'ECONNREFUSED' }],
    )
  }
})
