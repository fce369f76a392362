import { createServer, get, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { event, ROOT, until } from '../support/helper.ts'
import { type ReceivedSpan, Receiver } from '../support/otlp.ts'
import { Service } from '../support/process.ts'
import { ROUTES, traced } from './helper.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

/** Another service, which keeps the headers that it is asked with. */
async function upstream(t: Test) {
  const asked: IncomingHttpHeaders[] = []
  const server = createServer((request, response) => {
    asked.push(request.headers)
    response.setHeader('content-type', 'application/json').end('{}')
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await event(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const named = (spans: ReceivedSpan[], name: string) => spans.find((span) => span.name.startsWith(name))

for (const [protocol, options] of [
  ['http/protobuf', { source: ROOT }],
  ['http/json', {}],
] as const) {
  t.test(`a request, what it asks, and its lines in the log are one trace, over ${protocol}`, async (t) => {
    const receiver = await Receiver.start(t)
    const { url, asked } = await upstream(t)
    const env = {
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_HEADERS: 'api-key=a1',
      REDIS_URL_PREFIX: '',
    }
    const { service, post } = await traced(t, receiver, env, options)
    const headers = { traceparent: `00-${TRACE}-${PARENT}-01` }
    t.equal((await post('/traced/9?password=hunter2', { secret: 'hunter2', upstream: url }, headers)).status, 200)

    const request = await receiver.span('POST /traced/:id')
    await receiver.received(({ traceId }) => traceId === TRACE, 5)
    const spans = receiver.trace(TRACE)
    t.match(request, { kind: 'SERVER', parentSpanId: PARENT, status: { code: 'UNSET' } })
    t.match(request.attributes, {
      'http.request.method': 'POST',
      'http.route': '/traced/:id',
      'http.response.status_code': 200,
      'url.path': '/traced/9',
      'url.scheme': 'http',
      'network.protocol.version': '1.1',
      'server.address': '127.0.0.1',
      'server.port': Number,
      'client.address': '127.0.0.1',
      'user_agent.original': 'node',
    })
    const query = named(spans, 'pg.query:SELECT') as ReceivedSpan
    t.match(query, { kind: 'CLIENT', parentSpanId: request.spanId })
    t.match(query.attributes, { 'db.system.name': 'postgresql', 'db.query.text': 'select $1 as "value"' })
    const command = named(spans, 'set') as ReceivedSpan
    t.match(command, { kind: 'CLIENT', parentSpanId: request.spanId })
    t.match(command.attributes, { 'db.system.name': 'redis', 'db.query.text': 'set' })
    const call = named(spans, 'GET') as ReceivedSpan
    t.match(call, { kind: 'CLIENT', parentSpanId: request.spanId })
    t.equal(call.attributes['url.full'], `${url}/up`)
    t.equal(asked[0]?.['traceparent'], `00-${TRACE}-${call.spanId}-01`)
    t.match(request.resource, { 'service.name': String, 'service.version': String })
    t.notMatch(JSON.stringify(receiver.spans), /hunter2/)
    t.equal(receiver.requests[0]?.['api-key'], 'a1')

    const lines = service.logs.filter(({ requestId }) => requestId)
    t.same(
      lines.map(({ msg }) => msg),
      ['handled', 'request'],
    )
    for (const { traceId, spanId } of lines) t.same({ traceId, spanId }, { traceId: TRACE, spanId: request.spanId })
  })
}

t.test('a body, a stream and HEAD keep to the span, and an answer that is an error tells it', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, url, ask } = await traced(t, receiver, {}, { source: ROOT })

  t.equal(await (await ask('/traced/stream')).text(), 'firstlast')
  t.ok((await receiver.span('GET /traced/stream')).durationMs > 40, 'ends with the last byte')
  await ask('/traced/stream', { method: 'HEAD' })
  t.equal((await receiver.span('HEAD /traced/stream')).attributes['http.response.status_code'], 200)

  await ask('/nowhere?token=hunter2')
  const nowhere = await receiver.span('GET')
  t.match(nowhere, { status: { code: 'UNSET' }, events: [] })
  t.match(nowhere.attributes, { 'url.path': '/nowhere', 'http.response.status_code': 404 })
  t.notOk('http.route' in nowhere.attributes)

  await ask('/traced/fail?status=422&text=no')
  const refused = await receiver.span('GET /traced/fail')
  t.match(refused, { status: { code: 'UNSET' }, events: [] })
  t.notOk('error.type' in refused.attributes)

  receiver.spans.length = 0
  await ask('/traced/fail?text=postgres://me:hunter2@host/db%20token=hunter3')
  const failed = await receiver.span('GET /traced/fail')
  t.equal(failed.status.code, 'ERROR')
  t.match(failed.attributes, { 'error.type': '500', 'http.response.status_code': 500 })
  t.match(failed.events, [
    { name: 'exception', attributes: { 'exception.type': 'Error', 'exception.stacktrace': /routes/ } },
  ])
  t.notMatch(JSON.stringify(failed), /hunter/)

  t.equal((await ask('/traced/null')).status, 500)
  t.match((await receiver.span('GET /traced/null')).status, { code: 'ERROR' })
  t.equal(service.logs.filter(({ msg }) => msg === 'request failed').at(-1)?.['err'], null, 'as it was thrown')

  await ask('/traced/invalid')
  await ask('/traced/wrong')
  const failures = await receiver.received(({ kind, status }) => kind === 'CLIENT' && status.code === 'ERROR', 2)
  t.match(failures, [
    {
      status: { code: 'ERROR' },
      attributes: { 'error.type': '22P02', 'db.response.status_code': '22P02' },
      events: [],
    },
    { status: { code: 'ERROR' }, attributes: { 'error.type': 'ERR', 'db.response.status_code': 'ERR' }, events: [] },
  ])
  t.notMatch(JSON.stringify(failures), /hunter2/, 'their messages have the value')

  // A method that is none of HTTP's has no name of its own.
  get(`${url}/nowhere`, { method: 'PROPFIND', headers: { host: 'example.test' } }, (response) => response.resume())
  const unknown = await receiver.span('HTTP')
  t.match(unknown.attributes, {
    'http.request.method': '_OTHER',
    'http.request.method_original': 'PROPFIND',
    'server.address': 'example.test',
  })
  t.notOk('server.port' in unknown.attributes)

  // A handler of one's own may say that an answer is a failure.
  await ask('/traced/told')
  const told = await receiver.span('GET /traced/told')
  t.match(told, { status: { code: 'ERROR', message: 'told' } })
  t.match(told.attributes, {
    'client.token': '[redacted]',
    'client.cookies': '[redacted]',
    'has.token': true,
    'all.numbers': [1, 2],
    'all.texts': ['token=[redacted]'],
  })
  t.match(told.events, [
    { name: 'password=[redacted]', attributes: { secret: '[redacted]', text: 'token=[redacted]' } },
  ])
  t.notMatch(String(Buffer.concat(receiver.bodies)), /hunter4/, 'its links neither')

  await until(
    async () => service.logs.filter(({ msg }) => msg === 'request'),
    (lines) => lines.length === 10,
  )
  for (const { msg, traceId, spanId, requestId } of service.logs) {
    if (requestId) t.match({ traceId, spanId }, { traceId: /^\w{32}$/, spanId: /^\w{16}$/ }, msg)
  }
})

t.test('a wait for a connection of the pool that does not come is an error without a code', async (t) => {
  const receiver = await Receiver.start(t)
  const env = { DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '300' }
  const { ask } = await traced(t, receiver, env, { source: ROOT })
  const statuses = await Promise.all(['/traced/late', '/traced/late'].map(async (path) => (await ask(path)).status))
  t.same(statuses.sort(), [200, 503])
  const [wait] = await receiver.received(({ name, status }) => name === 'pg-pool.connect' && status.code === 'ERROR')
  t.equal(wait?.attributes['error.type'], '_OTHER')
  t.notOk('db.response.status_code' in Object(wait?.attributes))
})

t.test('a client that goes away ends the span', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, ask } = await traced(t, receiver, {}, { source: ROOT })
  const controller = new AbortController()
  const asked = ask('/traced/slow?token=hunter2', { signal: controller.signal }).catch(() => {})
  const { traceId, spanId } = await service.logged('slow')
  controller.abort()
  await asked
  const span = await receiver.span('GET /traced/slow')
  t.match(span, { traceId, spanId, status: { code: 'ERROR' }, attributes: { 'error.type': 'aborted' } })
  t.match(await service.logged('request'), { traceId, spanId, aborted: true })
  // What the handler does when nobody waits is no news.
  await receiver.received(({ name }) => name.startsWith('pg.query:COMMIT'))
  await ask('/traced/stream')
  await receiver.span('GET /traced/stream')
  t.same(
    service.logs.filter(({ msg }) => msg === 'tracing'),
    [],
  )
})

t.test('a request that is refused while the service starts has a span too', async (t) => {
  const receiver = await Receiver.start(t)
  const service = new Service(t, {
    DATABASE_URL: 'postgres://127.0.0.1:1',
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_BSP_SCHEDULE_DELAY: '50',
    NODE_OPTIONS: ROUTES,
  })
  const answer = await fetch(`${await service.url()}/traced/stream`)
  t.equal(answer.status, 503)
  const { traceId, spanId } = await service.logged('request')
  t.match(await receiver.span('GET /traced/stream'), {
    traceId,
    spanId,
    status: { code: 'ERROR' },
    attributes: { 'http.route': '/traced/stream', 'http.response.status_code': 503, 'error.type': '503' },
  })
})

t.test('what the SDK has to say is in the log', async (t) => {
  const receiver = await Receiver.start(t)
  const env = {
    OTEL_LOG_LEVEL: 'all',
    LOG_LEVEL: 'debug',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_PROPAGATORS: 'own',
  }
  const { service, ask } = await traced(t, receiver, env, { source: ROOT })
  await ask('/traced/stream')
  await receiver.span('GET /traced/stream')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  const lines = service.logs.filter(({ msg }) => msg === 'tracing')
  const warned = lines.filter(({ level }) => level === 40).map(({ err }) => Object(err).message)
  t.match(warned.join(), /Propagator "own"/)
  t.ok(lines.some(({ level }) => level === 20))
  t.equal(service.output.trim().split('\n').length, service.logs.length, 'and nowhere else')
})

t.test('what is sampled out is sent nowhere, and the log has its ids', async (t) => {
  const receiver = await Receiver.start(t)
  const env = { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }
  const { service, ask } = await traced(t, receiver, env, { source: ROOT })
  await ask('/traced/many')
  t.match(await service.logged('request'), { traceId: /^\w{32}$/, spanId: /^\w{16}$/ })
  await ask('/traced/many', { headers: { traceparent: `00-${TRACE}-${PARENT}-01` } })
  await receiver.span('GET /traced/many')
  t.same([...new Set(receiver.spans.map(({ traceId }) => traceId))], [TRACE], 'but for those that the caller keeps')
})

t.test('another propagator than that of the W3C', async (t) => {
  const receiver = await Receiver.start(t)
  const { url, asked } = await upstream(t)
  const { service, post } = await traced(t, receiver, { OTEL_PROPAGATORS: 'b3' })
  await post('/traced/9', { secret: 'x', upstream: url }, { b3: `${TRACE}-${PARENT}-1` })
  t.match(await receiver.span('POST /traced/:id'), { traceId: TRACE, parentSpanId: PARENT })
  t.match(asked[0]?.['b3'], new RegExp(`^${TRACE}-\\w{16}-1`))
  t.equal((await service.logged('handled'))['traceId'], TRACE)
})
