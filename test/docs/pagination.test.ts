import { Client } from 'pg'
import t, { type Test } from 'tap'
import { database, query, until } from '../support/helper.ts'
import { codeOf, pageOf, served, typecheck, withRoute, ZONES } from './service.ts'

// A service may have events of its own.
const [migration = '', route = ''] = codeOf('pagination.md').map((code) => code.replaceAll('events', 'docs_events'))
const copy = await withRoute(t, 'docs_events', {
  'migrations/99990101000000_docs_events.ts': migration,
  'src/routes/docs_events.ts': route,
})

interface Event {
  id: string
  name: string
  created_at: string
}
interface Page {
  items: Event[]
  next: string | null
}
type Ask = (query: Record<string, string | number>) => Promise<{ status: number; page: Page; code: string }>

/** Over HTTP, so that the route has the types and modules of its own process. */
function asking(url: string): Ask {
  return async (query) => {
    const answer = await fetch(`${url}/docs_events?${new URLSearchParams(query as Record<string, string>)}`)
    const page = (await answer.json()) as Page & { code: string }
    return { status: answer.status, page, code: page.code }
  }
}

/** All pages from the first to the last. `between` runs after each. */
async function pagesOf(ask: Ask, order: string, between = async () => {}): Promise<Event[]> {
  const seen: Event[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const { page } = await ask({ order, limit: 4, ...(cursor && { cursor }) })
    seen.push(...page.items)
    if (seen.length > 200) throw new Error('it has no end')
    await between()
    cursor = page.next
  }
  return seen
}

const EVENTS = "insert into docs_events (name) select 'first ' || n from generate_series(1, 31) n"
/** One by one, each some microseconds after the one before. */
const APART = `do $$ begin
    for n in 1..31 loop insert into docs_events (name, created_at) values (n, clock_timestamp()); end loop;
  end $$`

/** A process of that zone, whose database has the table, and the SQL of another client. */
async function started(t: Test, zone = 'UTC') {
  const url = await database(t)
  await query(url, `alter database ${new URL(url).pathname.slice(1)} set timezone = 'Asia/Tokyo'`)
  const ask = asking(await served(t, copy, zone, url))
  return { url, ask, sql: (text: string) => query<Record<string, unknown>>(url, text) }
}

t.test('docs: pages over rows of one transaction have each of them once, in three time zones', async (t) => {
  for (const zone of ZONES) {
    const { ask, sql } = await started(t, zone)
    await sql(EVENTS)
    await sql(APART)
    await sql("insert into docs_events (name, created_at) values ('Ides', '0044-03-15Z BC'), ('far', '12026-01-01Z')")
    const rows = await sql('select id from docs_events order by created_at, id')
    const ids = rows.map(({ id }) => id)
    t.equal(new Set(ids).size, 64)
    t.same(
      (await pagesOf(ask, 'asc')).map(({ id }) => id),
      ids,
      zone,
    )
    t.same(
      (await pagesOf(ask, 'desc')).map(({ id }) => id),
      ids.toReversed(),
      zone,
    )
    const [, second] = (await ask({ order: 'asc', limit: 2 })).page.items
    const [{ utc } = { utc: '' }] = await sql(
      `select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as utc
       from docs_events where id = '${ids[1]}'`,
    )
    t.equal(second?.created_at, utc)
  }
})

t.test(
  'docs: rows that are inserted and deleted meanwhile move none of the others, and the index finds them',
  async (t) => {
    const { url, ask, sql } = await started(t)
    await t.resolves(typecheck(copy, url))
    await sql(EVENTS)
    for (const order of ['asc', 'desc']) {
      const before = (await sql('select id from docs_events order by created_at, id')).map(({ id }) => id as string)
      const gone = order === 'asc' ? before[0] : before.at(-1)
      const seen = await pagesOf(ask, order, async () => {
        await sql("insert into docs_events (name) values ('later')")
        await sql(`delete from docs_events where id = '${gone}'`)
      })
      const ids = seen.map(({ id }) => id)
      t.equal(new Set(ids).size, ids.length, 'none twice')
      t.same(
        before.filter((id) => !ids.includes(id)),
        [],
        'none is missing',
      )
    }

    t.match(await ask({}), { status: 200, page: { items: { length: 20 } } })
    for (const wrong of [{ limit: 0 }, { limit: 101 }, { limit: 'all' }, { order: 'up' }])
      t.match(await ask(wrong as { limit: number }), { status: 400, code: 'FST_ERR_VALIDATION' })
    const key = (text: string) => Buffer.from(text).toString('base64url')
    const at = '2026-11-27T22:15:41.123Z'
    const id = '0b6cbd0d-7c6b-4e0c-9ee1-8b4c44b9a1a0'
    t.match(await ask({ cursor: key(`${at} ${id}`), order: 'asc' }), { status: 200 })
    for (const cursor of [
      '',
      'x',
      '\0',
      key(at),
      key(`${at} 1`),
      key(`2026-99-27T22:15:41.123Z ${id}`),
      key(`${at} ${id} or true`),
    ])
      t.match(await ask({ cursor }), { status: 400, code: 'INVALID_CURSOR' }, JSON.stringify(cursor))

    await sql("update docs_events set name = 'again'")
    const [{ odd } = { odd: '' }] = await sql(
      "select count(*)::int as odd from docs_events where date_trunc('milliseconds', updated_at) <> updated_at",
    )
    t.equal(odd, 0)
    const client = await connected(t, url)
    await client.query('set enable_seqscan = off')
    for (const [order, operator] of [
      ['asc', '>'],
      ['desc', '<'],
    ]) {
      const { rows } = await client.query(
        `explain select * from docs_events where (created_at, id) ${operator} ('2026-11-27T22:15:41.123Z', '${id}')
       order by created_at ${order}, id ${order} limit 5`,
      )
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      t.match(plan, /docs_events_created.*\n.*Index Cond: \(ROW\(created_at, id\)/)
      t.notMatch(plan, /Sort/)
    }
  },
)

t.test('docs: what it says of a column that has microseconds', async (t) => {
  const url = await database(t)
  const client = await connected(t, url)
  const sql = async (text: string, values?: unknown[]) => (await client.query(text, values)).rows
  await sql('create table docs_events (id uuid default gen_random_uuid(), name text, created_at timestamptz(6))')
  await sql(APART)
  const ids = (key: string) => sql(`select id from docs_events order by ${key}, id`)

  const pages = async (at: string, key: string) => {
    const seen: { id: string; at: string | Date }[] = []
    for (;;) {
      const last = seen.at(-1) ?? { at: '-infinity', id: '00000000-0000-4000-8000-000000000000' }
      const page = await sql(
        `select id, ${at} as at from docs_events where (${key}, id) > ($1::timestamptz, $2::uuid)
         order by ${key}, id limit 4`,
        [last.at, last.id],
      )
      if (page.length === 0 || seen.length > 31) return seen.map(({ id }) => ({ id }))
      seen.push(...page)
    }
  }
  t.same(await pages('created_at::text', 'created_at'), await ids('created_at'), 'the text of PostgreSQL')
  const order = 'created_at::timestamptz(3)'
  t.same(await pages(order, order), await ids(order), 'milliseconds')
  const at = "timestamptz '2026-11-27 22:15:41.1239Z'"
  t.same(await sql(`select ${at} as cut, ${at}::timestamptz(3) as rounded`), [
    { cut: new Date('2026-11-27T22:15:41.123Z'), rounded: new Date('2026-11-27T22:15:41.124Z') },
  ])

  const [index = ''] = blocksOf('sql')
  await sql(index)
  const late = sql("create index on docs_events (date_trunc('milliseconds', created_at))")
  await t.rejects(late, { code: '42P17' })
  await sql('set enable_seqscan = off')
  const [plan] = await sql(`explain select id from docs_events order by ${order}, id limit 4`)
  t.notMatch(plan, /Sort/)
  const [cut] = await sql(
    `explain select id from docs_events where (${order}, id) > ($1::timestamptz(3), $2) order by ${order}, id limit 4`,
    [new Date(), '00000000-0000-4000-8000-000000000000'],
  )
  t.notMatch(cut, /Sort/)

  const file = async () => (await sql("select pg_relation_filenode('docs_events') as file"))[0].file
  const before = await file()
  await sql('alter table docs_events alter column created_at type timestamptz(3)')
  t.not(await file(), before, 'it is written anew')
  t.equal((await ids('created_at')).length, 31)
})

t.test('docs: a reader that goes on sees a row whose transaction commits late', async (t) => {
  const url = await database(t)
  const [late, client] = [await connected(t, url), await connected(t, url)]
  await client.query('create table docs_events (id uuid primary key default gen_random_uuid(), name text)')
  const [, alter = '', index = '', select = ''] = blocksOf('sql').flatMap((block) => block.split(';\n'))
  await client.query(alter)
  await client.query(index)
  const insert = (name: string) => `insert into docs_events (name) values ('${name}')`
  const seen: string[] = []
  let key = ['0', '00000000-0000-4000-8000-000000000000']
  const read = async () => {
    const { rows } = await client.query(select, key)
    seen.push(...rows.map(({ name }) => name))
    const last = rows.at(-1)
    if (last) key = [last.written_by, last.id]
  }
  await late.query(`begin; ${insert('late')}`)
  await client.query(insert('early'))
  await read()
  t.same(seen, [], 'it waits for what is under way')
  await late.query('commit')
  await client.query(insert('last'))
  // Another database may have a transaction of its own.
  await until(read, () => seen.length === 3)
  t.same(seen, ['late', 'early', 'last'])
})

function blocksOf(language: string): string[] {
  const blocks = pageOf('pagination.md').matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))
  return [...blocks].map(([, text = '']) => text.replaceAll('events', 'docs_events'))
}

async function connected(t: Test, url: string): Promise<Client> {
  const client = new Client(url)
  await client.connect()
  t.teardown(() => client.end())
  return client
}
