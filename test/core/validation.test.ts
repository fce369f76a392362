import type { FastifyPluginAsync } from 'fastify'
import t, { type Test } from 'tap'
import { build } from '../support/app.ts'

const body = {
  type: 'object',
  required: ['name', 'quantity'],
  properties: {
    name: { type: 'string', maxLength: 5, pattern: '^[a-z]*$' },
    quantity: { type: 'integer', minimum: 1 },
    lines: { type: 'array', items: { type: 'integer' } },
    colour: { $ref: 'colour#' },
    // Takes longer than the sun has, on a text that does not fit.
    slow: { type: 'string', maxLength: 5, pattern: '^(a+)+$' },
    few: { type: 'array', maxItems: 2, uniqueItems: true },
    // The same, with the bound elsewhere.
    split: { type: 'string', allOf: [{ maxLength: 5 }, { pattern: '^(a+)+$' }] },
    apart: { type: 'string', maxLength: 5, allOf: [{ pattern: '^(a+)+$' }] },
    named: { type: 'string', maxLength: 5, $ref: 'slow#' },
    none: { type: ['string', 'null'], maxLength: 5, pattern: '^a*$' },
    either: { if: { type: 'number' }, else: { type: 'string', minLength: 2 } },
  },
}

async function validator(t: Test, more?: FastifyPluginAsync) {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.addSchema({ $id: 'colour', type: 'string', enum: ['red', 'green'] })
    fastify.addSchema({ $id: 'slow', type: 'string', pattern: '^(a+)+$' })
    fastify.post('/things', { schema: { body } }, async () => ({}))
    const number = { type: 'object', properties: { a: { type: 'integer' }, B: { type: 'integer' } } }
    fastify.get('/things/:a/:B', { schema: { params: number } }, async () => ({}))
    fastify.get('/query', { schema: { querystring: number } }, async () => ({}))
    fastify.get('/headers', { schema: { headers: number } }, async () => ({}))
    if (more) await fastify.register(more)
  })
  const post = async (payload: unknown, headers = {}) => {
    app.logs.length = 0
    const json = { 'content-type': 'application/json', ...headers }
    const answer = await app.inject({ method: 'POST', url: '/things', payload: JSON.stringify(payload), headers: json })
    t.equal(answer.statusCode, 400)
    return answer.json()
  }
  return { app, post }
}

t.test('all that is not valid is told, with its path and not its value', async (t) => {
  const { app, post } = await validator(t)
  const hunter2 = 'hunter2'
  const answer = await post({ quantity: hunter2, lines: [1, hunter2], colour: hunter2, either: 'x' })
  const errors = [
    { path: 'body/name', message: "must have required property 'name'" },
    { path: 'body/quantity', message: 'must be integer' },
    { path: 'body/lines/1', message: 'must be integer' },
    { path: 'body/colour', message: 'must be equal to one of the allowed values' },
    { path: 'body/either', message: 'must NOT have fewer than 2 characters' },
  ]
  t.same(answer, {
    ...{ statusCode: 400, code: 'FST_ERR_VALIDATION', error: 'Bad Request' },
    message: "body must have required property 'name'",
    errors,
  })
  t.notMatch(JSON.stringify([answer, app.logs]), hunter2)
  t.equal(app.logs.filter(({ level }) => level >= 30).length, 1, 'the line of the request alone')

  for (const [url, part, headers] of [
    ['/things/x/y', 'params', {}],
    ['/query?a=x&B=y', 'querystring', {}],
    ['/headers', 'headers', { a: 'x', B: 'y' }],
  ] as const) {
    const { errors } = (await app.inject({ url, headers })).json()
    t.match(errors, [{ message: 'must be integer' }, { message: 'must be integer' }], part)
    for (const { path } of errors) t.match(path, new RegExp(`^${part}/[abB]$`))
  }
})

t.test('a hostile body gets a short answer, for which little is done', async (t) => {
  const { post } = await validator(t)
  const told = async (payload: object, headers?: object) => (await post({ name: 'a', ...payload }, headers)).errors
  const bad = (length: number) => Array.from({ length }, () => 'x')

  const many = await post({ name: 'a', quantity: 1, lines: bad(1_000) })
  t.equal(many.errors.length, 20)
  t.equal(many.message, 'body/lines/0 must be integer (and 980 more errors)')
  t.equal((await told({ quantity: 1, lines: bad(200_000) })).length, 1, 'a large body: the first error alone')
  const unsized = { 'content-encoding': 'identity' }
  t.equal((await told({ quantity: 1, lines: bad(1_000) }, unsized)).length, 1, 'nor is one that may be packed')

  const required = { path: 'body/quantity', message: "must have required property 'quantity'" }
  t.same(
    await told({ name: 7e9, slow: `${'a'.repeat(5_000)}!`, few: [1, 1, 1] }),
    [
      required,
      { path: 'body/name', message: 'must NOT have more than 5 characters' },
      { path: 'body/slow', message: 'must NOT have more than 5 characters' },
      { path: 'body/few', message: 'must NOT have more than 2 items' },
    ],
    'a slow check is not made of what is too long for it',
  )
  const slow = `${'a'.repeat(5_000)}!`
  t.same(
    await told({ split: slow, apart: slow, named: slow, none: null }),
    [
      required,
      ...['split', 'apart', 'named'].map((name) => {
        return { path: `body/${name}`, message: 'must NOT have more than 5 characters' }
      }),
    ],
    'wherever its bound is',
  )
  t.match(await told({ split: 'b', named: 'b' }), [required, { path: 'body/split' }, { path: 'body/named' }])
  t.match(await told({ few: [1, 1] }), [required, { path: 'body/few', message: /identical/ }])
  t.match(await told({ name: 'A', quantity: 1 }), [{ path: 'body/name', message: 'must match pattern "^[a-z]*$"' }])
})

t.test('validators of other kinds keep their words', async (t) => {
  const { app } = await validator(t, async (fastify) => {
    fastify.addSchema({ $id: 'map', type: 'object', additionalProperties: { type: 'integer' } })
    fastify.post('/map', { schema: { body: { $ref: 'map#' } } }, async () => ({}))
    const validatorCompiler = () => () => ({ error: new Error('of another kind') })
    fastify.post('/other', { schema: { body: {} }, validatorCompiler }, async () => ({}))
    const unknown = (() =>
      Object.assign(() => false, {
        schema: { type: 'nothing' },
        errors: [{ instancePath: '/a', message: 'no' }],
      })) as never
    fastify.post('/unknown', { schema: { body: {} }, validatorCompiler: unknown }, async () => ({}))
    const schemaErrorFormatter = () => new Error('in my words')
    fastify.post('/own', { schema: { body }, schemaErrorFormatter }, async () => ({}))
    fastify.post('/async', { schema: { body: { $async: true, ...body } } }, async () => ({}))
  })
  const post = async (url: string, payload: object = {}) => (await app.inject({ method: 'POST', url, payload })).json()
  t.match(await post('/other'), {
    statusCode: 400,
    code: 'FST_ERR_VALIDATION',
    message: 'of another kind',
    errors: undefined,
  })
  for (const _ of [1, 2])
    t.match(await post('/unknown'), { statusCode: 400, errors: [{ path: 'body/a', message: 'no' }] })
  t.match(await post('/own'), { statusCode: 400, message: 'in my words', errors: { length: 2 } })
  t.match(await post('/async'), { statusCode: 400, message: 'validation failed' })
  const { errors, message } = await post('/map', { ['k'.repeat(1_000)]: 'x' })
  t.equal(errors[0].path.length, 200)
  t.ok(message.length <= 400, 'a name of the client’s is cut off')
})
