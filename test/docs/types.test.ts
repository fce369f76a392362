import t from 'tap'
import { database, query } from '../support/helper.ts'
import { codeOf, pageOf, served, typecheck, withRoute, ZONES } from './service.ts'

/** The rows of the table below that heading, by the text of their first cell. */
function table(heading: string): Map<string, string[]> {
  const [, section = ''] = pageOf('types.md').split(`## ${heading}\n`)
  const lines = section.split('\n## ')[0]?.match(/^\| .*(?=\|$)/gm) ?? []
  const cells = lines.slice(2).map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|')))
  return new Map(cells.map(([, column = '', ...rest]) => [column, rest.map((cell) => cell.replace(/^`|`$/g, ''))]))
}

const requests = table('In a request')
const answers = table('In an answer')
const columns = [...answers].flatMap(([column, [got, sent, answer, wire]]) =>
  [...column.matchAll(/`(.*?)`/g)].map(([, type]) => {
    const [request, inserted] = requests.get(column) as string[]
    return { type, got, sent, answer, wire, request, inserted }
  }),
)

// With a column that is null, where the schema is one that can be.
const routes = columns.map(({ got, sent, answer, request, inserted }, n) => {
  const canBeNull = !/Unknown/.test(answer as string)
  const schema = canBeNull ? `value: ${answer}, none: Nullable(${answer})` : `value: ${answer}`
  return `
  const Body${n} = Type.Object({ value: ${request} })
  const Answer${n} = Type.Object({ ${schema} })
  fastify.post('/type_${n}', { schema: { body: Body${n}, response: { 200: Answer${n} } } }, async ({ body }) => {
    const told = body.value
    const row = { value: ${inserted?.replace('value', 'told')} }
    const { id } = await fastify.db.insertInto('type_${n}').values(row).returning('id').executeTakeFirstOrThrow()
    const found = await fastify.db.selectFrom('type_${n}').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
    const value: ${got} = found.value
    return { value: ${sent}${canBeNull ? ', none: found.none && null' : ''} }
  })`
})
const source = `
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { IPostgresInterval } from 'postgres-interval'
import { Type } from 'typebox'
import { DateTime, Nullable } from '../core/schemas.ts'
import orders from './docs_orders.ts'

export type Interval = IPostgresInterval
const types: FastifyPluginAsyncTypebox = async (fastify) => {
  await fastify.register(orders)${routes.join('')}
}
export default types
`

// A service may have orders of its own.
const [schema, since, counts] = codeOf('types.md').map((code) => code.replaceAll('orders', 'docs_orders'))
const orders = `
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { sql } from 'kysely'
${schema}
const routes: FastifyPluginAsyncTypebox = async (fastify) => {
${since}
  fastify.get('/docs_orders/counts', async () => {
${counts}
    return { all, paid }
  })
}
export default routes
`
const ORDERS = `create table docs_orders (id uuid not null default gen_random_uuid(), total numeric(12, 2) not null,
  created_at timestamptz(3) not null, paid_at timestamptz(3), due date);
  insert into docs_orders (total, created_at, due) values
    (1.50, '2026-11-27T22:15:41.123Z', '2026-11-28'), (2, '2026-11-27T22:15:41.122Z', null)`

t.test('docs: a value of each type goes in and comes out as docs/types.md says, in three time zones', async (t) => {
  t.ok(columns.length > 20)
  t.same([...requests.keys()], [...answers.keys()])
  const url = await database(t)
  const tables = columns.map(
    ({ type }, n) => `create table type_${n} (id serial, value ${type} not null, none ${type})`,
  )
  await query(url, ["create type letter_state as enum ('draft', 'sent')", ...tables, ORDERS].join(';'))
  const states = "array['draft', 'sent']::letter_state[]"
  t.same(await query(url, `select ${states} as all, ${states}::text[] as list`), [
    { all: '{draft,sent}', list: ['draft', 'sent'] },
  ])
  // Neither of those of the processes.
  await query(url, `alter database ${new URL(url).pathname.slice(1)} set timezone = 'Asia/Tokyo'`)
  const others =
    "array[true] as flags, array[time '10:00'] as times, array['[1,2)'::int4range] as ranges, point '(1,2)' as point"
  t.strictSame(await query(url, `select ${others}, oid '7' as oid, inet '10.0.0.1' as inet`), [
    { flags: [true], times: ['10:00:00'], ranges: '{"[1,2)"}', point: { x: 1, y: 2 }, oid: 7, inet: '10.0.0.1' },
  ])
  const json = "json_build_array(timestamptz '2026-11-27 22:15:41.123Z', 9007199254740993, 12.10, 12.10::text) as json"
  t.same(await query(url, `select ${json}`), [
    { json: ['2026-11-28T07:15:41.123+09:00', 9007199254740992, 12.1, '12.10'] },
  ])
  const copy = await withRoute(t, 'types', { 'src/routes/types.ts': source, 'src/routes/docs_orders.ts': orders })
  await t.resolves(typecheck(copy, url))

  for (const zone of ZONES) {
    const service = await served(t, copy, zone, url)
    const since = await fetch(`${service}/docs_orders?since=2026-11-28T03:45:41.123%2B05:30`)
    const order = { total: '1.50', created_at: '2026-11-27T22:15:41.123Z', paid_at: null, due: '2026-11-28' }
    t.match(await since.json(), [order], zone)
    t.same(await (await fetch(`${service}/docs_orders/counts`)).json(), { all: 2, paid: 0 })
    for (const [n, { type, wire, sent, answer }] of columns.entries()) {
      const headers = { 'content-type': 'application/json' }
      const answered = await fetch(`${service}/type_${n}`, { method: 'POST', headers, body: `{"value":${wire}}` })
      const none = /Unknown/.test(answer as string) ? '' : ',"none":null'
      t.equal(await answered.text(), `{"value":${wire}${none}}`, `${zone}: ${type}, ${sent}`)
    }
  }
})
