import t from 'tap'
import { type Static, Type } from 'typebox'
import { DateTime, Nullable } from '../../src/core/schemas.ts'
import { build } from '../support/app.ts'

const Row = Type.Object({
  at: DateTime,
  maybe: Nullable(DateTime),
  list: Type.Array(DateTime),
  day: Nullable(Type.String({ format: 'date' })),
  left: Type.Optional(DateTime),
})

t.test('a Date is sent in UTC, also where it may be null or left out', async (t) => {
  const at = new Date('2026-11-27T22:15:41.120Z')
  const rows: Static<typeof Row>[] = [
    { at, maybe: at, list: [at, at], day: '2026-11-27', left: at },
    { at, maybe: null, list: [], day: null },
  ]
  const app = await build(t, {}, async (fastify) => {
    fastify.get('/', { schema: { response: { 200: Type.Array(Row) } } }, async () => rows)
  })
  t.equal((await app.inject('/')).body, JSON.stringify(rows))
})

t.test('null stays null in a request, and what is none stays what it is', async (t) => {
  const Body = Type.Object({
    text: Nullable(Type.String()),
    size: Nullable(Type.Integer()),
    at: Nullable(DateTime),
    state: Nullable(Type.Enum(['draft', 'sent'])),
    color: Nullable(Type.String({ enum: ['red'] })),
  })
  // @ts-expect-error: of a literal null would be refused
  Nullable(Type.Literal('draft'))
  const app = await build(t, {}, async (fastify) => {
    fastify.post('/', { schema: { body: Body, response: { 200: Body } } }, async ({ body }) => {
      const { state, ...rest } = body as Static<typeof Body>
      const typed: 'draft' | 'sent' | null = state
      return { ...rest, state: typed }
    })
  })
  const post = (payload: object) => app.inject({ method: 'POST', url: '/', payload })
  for (const body of [
    { text: null, size: null, at: null, state: null, color: null },
    { text: '', size: 0, at: '2026-11-27T22:15:41.120Z', state: 'draft', color: 'red' },
  ]) {
    t.same((await post(body)).json(), body)
  }
  const none = { text: null, size: null, at: null, state: null, color: null }
  for (const wrong of [{ at: '2026-11-27' }, { state: '' }, { color: 'blue' }])
    t.match(await post({ ...none, ...wrong }), { statusCode: 400 })
})
