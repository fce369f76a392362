import pg from 'pg'
import t from 'tap'
import { NOT_OFFERED, offersTimescaledb, readings } from '../time-series/timescaledb.ts'
import { leaks } from './leaks.ts'

const skip = !(await offersTimescaledb()) && NOT_OFFERED

t.test('docs: the hypertable isolates tenants, and keeps updated_at', { skip }, async (t) => {
  const { url } = await readings(t, 0)
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  const as = async (slug: string, statement: string) => {
    await client.query(`begin; select set_config('app.tenant_id', id::text, true) from tenants where slug = '${slug}'`)
    return client.query(statement).finally(() => client.query('commit'))
  }
  await client.query("insert into tenants (slug, name) values ('a', 'A'), ('b', 'B')")
  const insert = (slug: string) => `
    insert into readings (tenant_id, taken_at, value, updated_at)
    select id, day, 1, '2000-01-01' from tenants, (values (date '2026-01-01'), ('2026-06-01')) as days (day)
     where slug = '${slug}'`
  for (const slug of ['a', 'b']) await as(slug, insert(slug))
  await t.rejects(as('a', insert('b')), { code: '42501' }, 'not into another tenant')

  t.same((await client.query('select * from readings')).rows, [], 'no tenant: no row')
  t.equal((await as('a', 'update readings set value = 2')).rowCount, 2)
  const fresh =
    "select slug, value, readings.updated_at > '2000-01-01' as fresh from readings join tenants on tenants.id = tenant_id"
  t.same((await as('a', fresh)).rows, Array(2).fill({ slug: 'a', value: 2, fresh: true }))
  t.same((await as('b', fresh)).rows, Array(2).fill({ slug: 'b', value: 1, fresh: false }))

  const named = (await leaks(url, {})).filter(({ name }) => name.includes('readings'))
  t.same(named, [], 'nor do the chunks, or what the extension brings, count')
})
