import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { errorCodes, type FastifyPluginAsync } from 'fastify'
import pg from 'pg'
import t, { type Test } from 'tap'
import { type AnswerTo, learnAnswers } from '../../src/core/error-answers.ts'
import { HttpError } from '../../src/core/http-error.ts'
import { markBackend } from '../../src/core/reasons.ts'
import { createFastify } from '../../src/core/requests.ts'
import { type App, build } from '../support/app.ts'
import { event, type LogLine, until } from '../support/helper.ts'

const SHAPE = {
  400: { statusCode: 400, error: 'Bad Request', message: 'Bad Request' },
  401: { statusCode: 401, error: 'Unauthorized', message: 'Unauthorized' },
  500: { statusCode: 500, error: 'Internal Server Error', message: 'Internal Server Error' },
  502: { statusCode: 502, error: 'Bad Gateway', message: 'Bad Gateway' },
  503: { statusCode: 503, error: 'Service Unavailable', message: 'Service Unavailable' },
}

/** The service, and what `/throw/:name` of it answers and logs beside the line of the request. */
async function thrower(t: Test, thrown: Record<string, unknown>, routes?: FastifyPluginAsync) {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get<{ Params: { name: string } }>('/throw/:name', async ({ params }) => {
      throw thrown[params.name]
    })
    // Without a promise, and given to reply.send().
    fastify.get<{ Params: { name: string } }>('/sync/:name', ({ params }) => {
      throw thrown[params.name]
    })
    fastify.get<{ Params: { name: string } }>('/send/:name', ({ params }, reply) => {
      reply.send(thrown[params.name])
    })
    if (routes) await fastify.register(routes)
  })
  const ask = async (url: string) => {
    app.logs.length = 0
    const answer = await app.inject(url.startsWith('/') ? url : `/throw/${url}`)
    return { ...answer, body: answer.json(), logs: lines(app.logs) }
  }
  return { app, ask }
}

const lines = (logs: LogLine[]) => logs.filter(({ msg }) => msg !== 'request')

function withCode(code: string, message = code): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError(message, 0, 'error'), { code })
}

t.test('an error of the service says nothing, one of a backend asks to come back', async (t) => {
  const certificate = Object.assign(new Error('unable to verify'), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  markBackend(certificate) // another server's would be a 502
  const { ask } = await thrower(t, {
    bug: new Error('the secret is hunter2'),
    limit: withCode('53300', 'sorry, too many clients already'),
    pool: new Error('timeout exceeded when trying to connect'),
    statement: withCode('57014', 'canceling statement due to statement timeout'),
    zero: withCode('22012', 'division by zero'),
    certificate,
    file: Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT', syscall: 'open' }),
  })
  for (const name of ['bug', 'zero', 'file', 'certificate']) {
    const bug = await ask(name)
    t.same([bug.statusCode, bug.body], [500, SHAPE[500]], name)
    t.equal(bug.headers['retry-after'], undefined)
    t.match(bug.logs, [{ level: 50, msg: 'request failed', err: { stack: String } }])
  }
  for (const name of ['limit', 'pool', 'statement']) {
    const answer = await ask(name)
    t.same([answer.statusCode, answer.body], [503, SHAPE[503]], name)
    t.equal(answer.headers['retry-after'], '1')
    t.match(answer.logs, [{ level: 40, msg: 'backend unavailable', reason: String }])
  }
})

t.test('of an error that was not made for the client only the status is seen', async (t) => {
  const headers = { 'set-cookie': 'a=hunter2', 'cache-control': 'public', 'transfer-encoding': 'chunked', 'x-in': '1' }
  const upstream = (rest: object) => Object.assign(new Error('key hunter2'), { statusCode: 401, headers, ...rest })
  const { ask } = await thrower(t, {
    upstream: upstream({}),
    code: upstream({ code: 'FST_ERR_VALIDATION', validation: [{ message: 'hunter2' }] }),
    jwt: upstream({ code: 'FST_JWT_AUTHORIZATION_TOKEN_INVALID', name: 'FastifyError', expose: 'true' }),
    gateway: upstream({ statusCode: 502 }),
  })
  for (const name of ['upstream', 'code', 'jwt', 'gateway']) {
    const { statusCode, body, headers, logs } = await ask(name)
    t.same(body, SHAPE[name === 'gateway' ? 502 : 401], name)
    t.equal(statusCode, body.statusCode)
    t.same(
      [headers['set-cookie'], headers['x-in'], headers['transfer-encoding'], headers['cache-control']],
      [undefined, undefined, undefined, 'no-store'],
    )
    t.match(logs, [{ level: name === 'gateway' ? 50 : 40, status: statusCode, err: { message: 'key hunter2' } }])
    t.equal(logs.length, 1)
  }
})

t.test('whatever is thrown has an answer', async (t) => {
  const getter = Object.defineProperty(new Error('no'), 'statusCode', {
    get() {
      throw new Error('hunter2')
    },
  })
  const proxy = new Proxy(new Error('no'), {
    get() {
      throw new Error('hunter2')
    },
  })
  const thrown: Record<string, unknown> = {
    ...{ null: null, undefined: undefined, text: 'hunter2', symbol: Symbol('hunter2'), big: 10n, zero: 0, no: false },
    ...{ function: () => 'hunter2', object: { secret: 'hunter2' }, frozen: Object.freeze(new Error('no')) },
    ...{ getter, proxy, revoked: Proxy.revocable({}, {}).proxy },
  }
  for (const statusCode of [
    200,
    0,
    99,
    399,
    600,
    -1,
    404.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    '404',
    null,
    [404],
  ]) {
    thrown[`status ${statusCode}`] = Object.assign(new Error('hunter2'), { statusCode })
    thrown[`exposed ${statusCode}`] = Object.assign(new Error('hunter2'), {
      statusCode,
      status: statusCode,
      expose: true,
    })
  }
  const { ask } = await thrower(t, thrown)
  for (const name of Object.keys(thrown)) {
    for (const way of ['throw', 'sync']) {
      const { statusCode, body, logs } = await ask(`/${way}/${encodeURIComponent(name)}`)
      t.same([statusCode, body], [500, SHAPE[500]], `${way} ${name}`)
      t.match(logs, [{ level: 50, msg: 'request failed' }])
      t.equal(logs.length, 1)
    }
  }
  for (const name of ['getter', 'frozen', 'status 200'])
    t.same((await ask(`/send/${name}`)).body, SHAPE[500], `send ${name}`)
})

t.test('what a handler makes for the client arrives', async (t) => {
  const cause = new Error('key hunter2')
  const headers = {
    ...{ 'x-hint': 'a', 'retry-after': '7', 'cache-control': 'public', 'Transfer-Encoding': 'chunked' },
    ...{ 'content-length': '1', 'x-broken': 'a\nb', 'not a name': 'a' },
  }
  const { ask } = await thrower(t, {
    gone: new HttpError(410, 'It is gone'),
    caused: new HttpError(409, 'It is taken', { code: 'TAKEN', headers, cause }),
    later: new HttpError(503, 'Not today', { headers }),
    range: new HttpError(416, '', { headers: { 'content-range': 'bytes */9' } }),
    nameless: new HttpError(444, ''),
    mute: { status: 404, expose: true },
    // http-errors, and with it @fastify/sensible.
    teapot: Object.assign(new Error('Short and stout'), { statusCode: 418, status: 418, expose: true }),
    object: { status: 404, expose: true, message: 'No such note', code: 7 },
    plugin: new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE('text/hunter2'),
    broken: new errorCodes.FST_ERR_DEC_MISSING_DEPENDENCY('hunter2'),
    // As @fastify/reply-from makes it.
    proxied: new errorCodes.FST_ERR_DEC_MISSING_DEPENDENCY('hunter2', {
      cause: Object.assign(new Error('hunter2'), { code: 'ECONNREFUSED' }),
    }),
  })
  t.match(await ask('gone'), {
    body: { statusCode: 410, error: 'Gone', message: 'It is gone' },
    logs: { length: 0 },
    headers: { 'cache-control': 'no-store' },
  })
  const caused = await ask('caused')
  t.same(caused.body, { statusCode: 409, code: 'TAKEN', error: 'Conflict', message: 'It is taken' })
  t.match(caused.headers, { 'x-hint': 'a', 'cache-control': 'no-store', 'retry-after': '7' })
  t.same([caused.headers['transfer-encoding'], caused.headers['x-broken']], [undefined, undefined])
  t.match(caused.logs, [{ level: 30, err: { cause: { message: 'key hunter2' } } }])
  t.match(await ask('later'), {
    body: { message: 'Not today' },
    headers: { 'retry-after': '7' },
    logs: [{ level: 40 }],
  })
  t.match(await ask('range'), { statusCode: 416, headers: { 'content-range': 'bytes */9' } })
  t.match(await ask('teapot'), { body: { statusCode: 418, message: 'Short and stout' }, logs: { length: 0 } })
  t.same((await ask('object')).body, { statusCode: 404, error: 'Not Found', message: 'No such note' })
  t.match(await ask('plugin'), {
    body: { statusCode: 415, code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE', message: /Unsupported Media Type/ },
    logs: { length: 0 },
  })
  t.match(await ask('broken'), { body: SHAPE[500], logs: [{ level: 50 }] })
  t.match(await ask('proxied'), { body: SHAPE[502], logs: [{ level: 40, msg: 'upstream failed' }] })
  t.same((await ask('nameless')).body, { statusCode: 444, error: 'Error', message: 'Error' })
  t.same((await ask('mute')).body, { statusCode: 404, error: 'Not Found', message: 'Not Found' })
  t.same((await ask('/send/gone')).body.message, 'It is gone')
})

t.test('a service adds answers of its own, ahead of those of the skeleton', async (t) => {
  class OutOfStock extends Error {}
  class Wrong extends Error {}
  const answers: AnswerTo = (err) => {
    if (err instanceof OutOfStock) return { status: 409, code: 'OUT_OF_STOCK', message: 'There is none left' }
    if (err instanceof pg.DatabaseError && err.code === 'P0001') return { status: 422, level: 'warn' }
    if (err instanceof pg.DatabaseError && err.constraint === 'notes_slug_key') return { status: 400 }
    return err instanceof Wrong ? { status: 200, message: 'hunter2' } : undefined
  }
  learnAnswers(answers)
  learnAnswers(answers)
  const { ask } = await thrower(t, {
    stock: Object.assign(new OutOfStock('hunter2'), { table: { row: 'hunter2' }, column: 'c'.repeat(1_000) }),
    raised: withCode('P0001', 'hunter2'),
    slug: Object.assign(withCode('23505', 'hunter2'), { constraint: 'notes_slug_key' }),
    other: withCode('23505', 'hunter2'),
    wrong: new Wrong('hunter2'),
  })
  const { body, logs } = await ask('stock')
  t.same(body, { statusCode: 409, code: 'OUT_OF_STOCK', error: 'Conflict', message: 'There is none left' })
  t.match(logs, [{ level: 30, msg: 'request refused', status: 409, table: undefined, column: 'c'.repeat(200) }])
  t.match(await ask('raised'), { statusCode: 422, logs: [{ level: 40, code: 'P0001' }] })
  t.same((await ask('slug')).body, SHAPE[400])
  t.equal((await ask('other')).statusCode, 409)
  t.same((await ask('wrong')).body, SHAPE[500], 'an answer that is no error is a bug')
})

t.test('what was set for the body that was not sent goes, what plugins have set stays', async (t) => {
  const gone = {
    etag: '"a"',
    'last-modified': 'now',
    expires: 'never',
    'content-encoding': 'gzip',
    'content-language': 'de',
  }
  const more = { 'content-disposition': 'attachment', 'content-range': 'bytes 0-1/2', 'content-location': '/a' }
  const { ask } = await thrower(t, {}, async (fastify) => {
    fastify.get('/file', async (_, reply) => {
      reply.headers({ ...gone, ...more, 'cache-control': 'public, max-age=60', 'content-length': '2' })
      reply.headers({ 'set-cookie': 'a=1', 'access-control-allow-origin': '*', 'ratelimit-limit': '1' })
      reply.raw.setHeader('vary', 'origin')
      reply
        .type('text/csv')
        .serializer(() => 'a,b')
        .code(201)
      throw new Error('no')
    })
  })
  const { headers, statusCode, body } = await ask('/file')
  t.same([statusCode, body], [500, SHAPE[500]])
  for (const name of Object.keys({ ...gone, ...more })) t.equal(headers[name], undefined, name)
  t.match(headers, {
    'cache-control': 'no-store',
    'content-type': 'application/json; charset=utf-8',
    'set-cookie': 'a=1',
    'access-control-allow-origin': '*',
    'ratelimit-limit': '1',
    vary: 'origin',
  })
})

t.test('an error in a hook, a schema or a serializer has an answer without its message', async (t) => {
  const no = Object.assign(new Error('hunter2'), { headers: { 'x-in': 'hunter2' } })
  const fail = async () => {
    throw no
  }
  const response = { 409: { type: 'object', required: ['id'], properties: { id: { type: 'string' } } } }
  const { app, ask } = await thrower(t, {}, async (fastify) => {
    fastify.get('/onRequest', { onRequest: fail }, async () => 'done')
    fastify.get('/preHandler', { preHandler: fail }, async () => 'done')
    fastify.get('/preSerialization', { preSerialization: fail }, async () => ({ done: true }))
    fastify.get('/onSend', { onSend: fail }, async () => 'done')
    fastify.get('/headers', async (_, reply) => reply.header('x-broken', 'a\nhunter2').send('done'))
    fastify.get('/serializer', { schema: { response: { 200: response[409] } } }, async () => ({ hunter2: true }))
    fastify.get('/schema', { schema: { response } }, async () => {
      throw new HttpError(409, 'It is taken', { code: 'TAKEN' })
    })
    fastify.get('/stream', async (_, reply) => reply.send(Readable.from(fail2())))
    fastify.register(async (own) => {
      own.setErrorHandler<Error>((err, _, reply) => {
        if (err instanceof HttpError) throw err
        return reply.code(444).send({ own: true })
      })
      own.get('/own', fail)
      own.get('/own/passed', async () => {
        throw new HttpError(410, 'It is gone')
      })
    })
  })
  for (const url of [
    '/onRequest',
    '/preHandler',
    '/preSerialization',
    '/onSend',
    '/headers',
    '/serializer',
    '/stream',
  ]) {
    const { statusCode, body, headers, logs } = await ask(url)
    t.same([statusCode, body], [500, SHAPE[500]], url)
    t.match(headers, { 'cache-control': 'no-store', 'x-request-id': String })
    t.equal(headers['x-in'], undefined)
    t.ok(logs.length > 0)
    t.ok(logs.every(({ level, msg }) => level === 50 && msg === 'request failed'))
    t.equal(app.logs.at(-1)?.['status'], 500, 'and its line')
  }
  t.same((await ask('/schema')).body, { statusCode: 409, code: 'TAKEN', error: 'Conflict', message: 'It is taken' })
  t.match(await ask('/own'), { statusCode: 444, body: { own: true } })
  t.match(await ask('/own/passed'), { statusCode: 410, body: { message: 'It is gone' } })
})

// biome-ignore lint/correctness/useYield: it fails first
async function* fail2() {
  throw new Error('hunter2')
}

/** What the service sends for this, until it closes the connection. */
async function raw(app: App, request: string): Promise<string> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(request)
  return text(socket)
}

const GET = (url: string) => `GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`

t.test('what fails after the answer is logged', async (t) => {
  const { ask } = await thrower(t, {}, async (fastify) => {
    const onResponse = async () => {
      throw new Error('of a hook')
    }
    fastify.get('/late', { onResponse }, async () => ({}))
  })
  t.match((await ask('/late')).logs, [{ level: 50, msg: 'failed after the answer', err: { message: 'of a hook' } }])
})

t.test('an answer that has begun is cut off, and no answer follows it', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get('/begun', async (_, reply) => {
      reply.raw.write('begun')
      throw new Error('hunter2')
    })
  })
  await app.listen({ port: 0 })
  const answer = await raw(app, GET('/begun'))
  t.match(answer, 'begun')
  t.notMatch(answer, /statusCode|hunter2/)
  t.match(lines(app.logs).at(-1), { level: 50, err: { message: 'hunter2' } })
  t.match(await raw(app, GET('/health/live')), /^HTTP\/1.1 200 /, 'and the service lives')
})

t.test('what ends with its client is nobody’s failure', async (t) => {
  let asked: (() => void) | undefined
  const arrived = new Promise<void>((resolve) => {
    asked = resolve
  })
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get('/aborted', async (_, reply) => {
      const abort = new AbortController()
      reply.raw.on('close', () => abort.abort())
      asked?.()
      await new Promise((_, reject) => abort.signal.addEventListener('abort', () => reject(abort.signal.reason)))
    })
  })
  await app.listen({ port: 0 })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  await event(socket, 'connect')
  socket.write(GET('/aborted'))
  await arrived
  socket.destroy()
  await until(
    () => app.logs.find(({ msg }) => msg === 'request aborted'),
    (line) => line !== undefined,
  )
  t.same(
    // A machine that is busy may have Redis answer late, which has nothing to do with the request.
    app.logs.filter(({ level, requestId }) => level > 30 && requestId),
    [],
  )
})

t.test('every error is told not to be kept, and none repeats the query', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.post('/things', { bodyLimit: 10 }, async () => 'thing')
    fastify.get('/things/:id', async () => 'thing')
  })
  await app.listen({ port: 0 })
  const post = (headers: string, body: string) =>
    `POST /things?token=hunter2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`
  const json = 'Content-Type: application/json\r\n'
  for (const [status, request] of [
    [404, GET('/nowhere?token=hunter2')],
    [404, GET('/nowhere').replace('GET', 'HEAD')],
    [404, GET('/things?token=hunter2')],
    [400, GET('/%?token=hunter2')],
    [414, GET(`/things/${'a'.repeat(101)}?token=hunter2`)],
    [400, post(json, '{no')],
    [400, post(json, '')],
    [413, post(json, '{"text":"too long"}')],
    [415, post('Content-Type: text/csv\r\n', 'a,b')],
    [400, 'NONSENSE?token=hunter2\r\n\r\n'],
    [400, 'GET /things/1?token=hunter2 HTTP/1.1\r\nConnection: close\r\n\r\n'],
    [417, post('Expect: miracles\r\n', '')],
  ] as const) {
    const title = `${status} for ${request.slice(0, 40)}`
    const answer = await raw(app, request)
    t.match(answer, new RegExp(`^HTTP/1.1 ${status} `), title)
    t.match(answer.toLowerCase(), '\r\ncache-control: no-store\r\n', title)
    t.notMatch(answer, /hunter2/)
    if (request.startsWith('HEAD')) continue
    const { statusCode, error, message } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))
    t.match({ statusCode, error, message }, { statusCode: status, error: String, message: /./ }, title)
  }
  t.same((await app.inject('/nowhere?token=hunter2#there')).json(), {
    statusCode: 404,
    error: 'Not Found',
    message: 'Route GET:/nowhere not found',
  })
  t.notMatch(JSON.stringify(app.logs), /hunter2/)
})

t.test('without the service’s own handler nothing is told either', async (t) => {
  const logs: LogLine[] = []
  const app = createFastify({ stream: { write: (line: string) => void logs.push(JSON.parse(line)) } })
  t.teardown(() => app.close())
  app.get('/', async () => {
    throw Object.assign(new Error('hunter2'), { statusCode: 503, headers: { 'x-in': '1' } })
  })
  const answer = await app.inject('/')
  t.same(answer.json(), SHAPE[503])
  t.match(answer.headers, { 'retry-after': '1', 'x-in': undefined })
  t.match(logs, [
    { level: 40, msg: 'request failed' },
    { msg: 'request', status: 503 },
  ])
})
