import { EventEmitter } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import fastify, { type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import service from '../../src/app.ts'
import { HttpError } from '../../src/core/http-error.ts'
import { type App, build, unstarted } from '../support/app.ts'
import { event, type LogLine, until } from '../support/helper.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const TRACE_ID = /^[0-9a-f]{32}$/

const lines = ({ logs }: App) => logs.filter(({ msg }) => msg === 'request')

t.test('a request has one line, with its route pattern and never its URL', async (t) => {
  const app = await build(t, { LOG_LEVEL: 'info' }, async (fastify) => {
    fastify.get('/things/:id', async () => 'thing')
    fastify.get('/client', async (request) => {
      request.log.info({ req: request }, 'inside')
      throw new HttpError(400, 'hunter2 is no name')
    })
  })
  app.logs.length = 0
  for (const url of ['/things/hunter2?token=hunter2', '/client?token=hunter2', '/hunter2?token=hunter2', '/%hunter2']) {
    await app.inject(url)
  }
  const ids = { requestId: UUID, traceId: TRACE_ID, method: 'GET', durationMs: Number }
  t.match(app.logs, [
    { level: 30, msg: 'request', route: '/things/:id', status: 200, ...ids },
    { msg: 'inside', req: { method: 'GET', route: '/client' } },
    { level: 30, msg: 'request', route: '/client', status: 400, ...ids },
    { level: 30, msg: 'request', route: undefined, status: 404, ...ids },
    { level: 30, msg: 'request', route: undefined, status: 400, ...ids },
  ])
  t.equal(app.logs.length, 5)
  t.notMatch(JSON.stringify(app.logs), /hunter2/)
})

t.test('probes have their line at debug', async (t) => {
  const urls = ['/health', '/health/live', '/health/ready', '/health/db']
  for (const [LOG_LEVEL, expected] of [
    ['info', []],
    ['debug', urls],
  ] as const) {
    const app = await build(t, { MIGRATIONS: 'off', LOG_LEVEL })
    for (const url of urls) await app.inject(url)
    t.same(
      lines(app).map(({ route }) => route),
      expected,
      LOG_LEVEL,
    )
    t.ok(lines(app).every(({ level }) => level === 20))
  }
})

t.test("a request is known by the client's ids where they are well-formed, else by fresh ones", async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get('/', async ({ id, log }) => {
      log.info('inside')
      return id
    })
  })
  const ask = async (headers: Record<string, string>, url = '/') => {
    app.logs.length = 0
    const answer = await app.inject({ url, headers })
    for (const { requestId } of app.logs) t.equal(requestId, answer.headers['x-request-id'])
    const [{ requestId, traceId }] = app.logs as [LogLine]
    for (const line of app.logs) t.equal(line['traceId'], traceId)
    return { requestId, traceId }
  }
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const parent = '00f067aa0ba902b7'

  for (const id of ['a', 'Root=1-67891233-abcdef012345678912345678', 'a'.repeat(128)]) {
    t.equal((await ask({ 'x-request-id': id })).requestId, id)
    t.equal((await ask({ 'x-request-id': id }, '/nowhere')).requestId, id)
  }
  for (const id of ['', 'a b', 'a"b', 'a,b', '{}', 'ü', '\u001b[31m', 'a'.repeat(129)]) {
    t.match((await ask({ 'x-request-id': id })).requestId, UUID)
  }

  for (const version of ['00', '01']) {
    t.equal((await ask({ traceparent: `${version}-${trace}-${parent}-01` })).traceId, trace)
    t.equal((await ask({ traceparent: `${version}-${trace}-${parent}-01` }, '/nowhere')).traceId, trace)
  }
  for (const traceparent of [
    '',
    trace,
    `ff-${trace}-${parent}-01`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${parent}-01`,
    `00-${trace}-${parent}-01-${'a'.repeat(1_000)}`,
    `00-${trace}-${parent}-01, 00-${trace}-${parent}-01`,
  ]) {
    const { traceId } = await ask({ traceparent })
    t.match(traceId, TRACE_ID)
    t.not(traceId, trace)
  }
})

t.test('request.traceId is the one of the log, also of a route that the log is quiet about', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    const ids = async (request: FastifyRequest) => [request.traceId, request.traceId]
    fastify.get('/ids', ids)
    fastify.get('/quiet', { config: { quiet: true } }, ids)
  })
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  for (const url of ['/ids', '/quiet']) {
    const [first, second] = (await app.inject(url)).json()
    t.match(first, TRACE_ID)
    t.equal(first, second)
    if (url === '/ids') t.equal(lines(app).at(-1)?.['traceId'], first)
    const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01` }
    t.same((await app.inject({ url, headers })).json(), [trace, trace])
  }
})

t.test('every answer names its request', async (t) => {
  const app = await unstarted(t, { DATABASE_URL: 'postgres://localhost:1/nowhere' })
  for (const url of ['/starting', '/health', '/%']) {
    t.match((await app.inject(url)).headers['x-request-id'], UUID, url)
  }
  t.same(
    lines(app).map(({ level, status }) => [level, status]),
    [
      [30, 503],
      [20, 503],
      [30, 400],
    ],
  )
  t.same(
    app.logs.filter(({ msg }) => msg === 'request failed'),
    [],
    'a service that starts is no error',
  )
})

/** Sends this text as it is to the app, on a connection of its own. */
async function send(t: Test, app: App, text: string) {
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await event(socket, 'connect')
  socket.write(text)
  return socket
}

t.test('a client that goes away before the end of its answer leaves a line', async (t) => {
  const asked = new EventEmitter()
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.addHook('preHandler', async () => void setImmediate(() => asked.emit('asked')))
    fastify.get('/slow', () => new Promise(() => {}))
    fastify.get('/large', async () => 'x'.repeat(50_000_000))
  })
  await app.listen({ port: 0 })
  for (const [route, status] of [
    ['/slow', undefined],
    ['/large', 200],
  ] as const) {
    app.logs.length = 0
    const asks = event(asked, 'asked')
    const socket = await send(t, app, `GET ${route} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await asks
    socket.destroy()
    await until(
      () => lines(app),
      ({ length }) => length > 0,
    )
    t.match(lines(app), [{ level: 30, route, aborted: true, durationMs: Number, status }])
  }
})

t.test('what Node refuses has an id, a line, and is counted', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.post('/things', async () => 'thing')
  })
  await app.listen({ port: 0 })
  const post = 'POST /things HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n'
  for (const [status, text, line] of [
    [400, 'NONSENSE\r\n\r\n', { code: 'HPE_INVALID_METHOD', requestId: UUID }],
    [417, `${post}Expect: miracles\r\n\r\n`, { method: 'POST', requestId: 'mine' }],
    [431, `${post}a: ${'a'.repeat(17_000)}\r\n\r\n`, { code: 'HPE_HEADER_OVERFLOW', requestId: UUID }],
    [400, 'CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n', { code: 'CONNECT', requestId: UUID }],
    // A probe has no line of its own.
    [
      400,
      'GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz',
      { code: 'HPE_INVALID_CHUNK_SIZE', requestId: UUID },
    ],
    // These have come as far as a route.
    [400, 'POST /things HTTP/1.1\r\n\r\n', { route: '/things', requestId: UUID }],
    [
      400,
      `${post}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nz`,
      { route: '/things', aborted: true, requestId: 'mine' },
    ],
  ] as const) {
    app.logs.length = 0
    const socket = await send(t, app, text)
    const [answer] = (await event(socket, 'data')).map(String) as [string]
    t.match(answer, new RegExp(`^HTTP/1.1 ${status} `))
    await until(
      () => lines(app),
      ({ length }) => length > 0,
    )
    t.match(lines(app), [{ level: 30, status, ...line }])
    t.match(answer.toLowerCase(), `\r\nx-request-id: ${lines(app)[0]?.['requestId']}\r\n`)
    t.equal(lines(app).length, 1)
    socket.destroy()
  }
  await app.inject('/%')
  t.same(Object.fromEntries(app.refusals), { 400: 4, 417: 1, 431: 1 })
})

t.test('a request with two lengths, or a body that names a prototype, reaches no handler', async (t) => {
  let reached = 0
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.post('/things', async () => ++reached)
  })
  await app.listen({ port: 0 })
  const ask = async (headers: string, body: string) => {
    const post = `POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${headers}\r\n\r\n`
    const socket = await send(t, app, post + body)
    const answer = String((await event(socket, 'data'))[0])
    socket.destroy()
    return answer.split(' ')[1]
  }
  const ofJson = (body: string) => ask(`Content-Length: ${body.length}`, body)
  t.equal(await ofJson('{"a":1}'), '200')
  for (const refused of [
    () => ask('Content-Length: 2\r\nTransfer-Encoding: chunked', '0\r\n\r\n'),
    () => ask('Content-Length: 2\r\nContent-Length: 3', '{} '),
    () => ask('Transfer-Encoding: chunked, identity', '0\r\n\r\n'),
    () => ofJson('{"__proto__":{"admin":true}}'),
    () => ofJson('{"a":[{"\\u005f_proto__":{"admin":true}}]}'),
    () => ofJson('{"constructor":{"prototype":{"admin":true}}}'),
  ]) {
    t.equal(await refused(), '400')
  }
  t.equal(reached, 1)
})

t.test('what does not arrive in time is refused; a connection that was only opened is closed', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off', HEADERS_TIMEOUT_MS: '1', KEEP_ALIVE_TIMEOUT_MS: '3000' })
  await app.listen({ port: 0 })
  const silent = await send(t, app, '')
  const half = await send(t, app, 'GET / HTTP/1.1\r\n')
  const chunks: unknown[] = []
  silent.on('data', (chunk) => chunks.push(chunk))
  const closed = [event(silent, 'close'), event(half, 'close')]
  t.match(String(await event(half, 'data')), /^HTTP\/1.1 408 .*\r\nx-request-id: /)
  await Promise.all(closed)
  t.same(chunks, [])
  t.match(lines(app), [{ level: 30, status: 408, requestId: UUID, code: 'ERR_HTTP_REQUEST_TIMEOUT' }])
  t.same(Object.fromEntries(app.refusals), { 408: 1 })
})

t.test('a client that resets its connection leaves nothing to refuse', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' })
  await app.listen({ port: 0 })
  const connected = event(app.server, 'connection')
  const client = await send(t, app, 'GET / HTTP/1.1\r\n')
  const [socket] = (await connected) as [Socket]
  const closed = event(socket, 'close')
  client.resetAndDestroy()
  await closed
  t.same(lines(app), [])
  t.equal(app.refusals.size, 0)
})

t.test('the service cannot be registered on an instance that lacks a part of it', async (t) => {
  const app = fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => app.register(service, { env: {} }), {
    message: /'createFastify' required by 'app' is not present/,
  })
})
