import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import https from 'node:https'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import t, { type Test } from 'tap'
import { build } from '../support/app.ts'
import { event } from '../support/helper.ts'

const BAD_GATEWAY = { statusCode: 502, error: 'Bad Gateway', message: 'Bad Gateway' }
const LATE = { statusCode: 504, error: 'Gateway Timeout', message: 'Gateway Timeout' }

async function upstream(t: Test, listener: RequestListener, { closed = false } = {}): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await event(server, 'listening')
  const { port } = server.address() as AddressInfo
  if (closed) server.close()
  return `http://127.0.0.1:${port}`
}

t.test('what another server answers, or does not, is told as that server’s failure', async (t) => {
  const silent = await upstream(t, () => {})
  const cut = await upstream(t, ({ socket }) => socket.destroy())
  const half = await upstream(t, ({ socket }, response) => {
    response.writeHead(200, { 'content-length': '10' }).write('half')
    setImmediate(() => socket.destroy())
  })
  const refuses = await upstream(t, (_, response) => {
    response.writeHead(401, { 'set-cookie': 'a=hunter2', 'x-in': 'hunter2', 'cache-control': 'public' }).end('hunter2')
  })
  const garbled = createTcpServer((socket) => socket.end('hunter2\r\n\r\n')).listen(0, '127.0.0.1')
  t.teardown(() => garbled.close())
  await event(garbled, 'listening')
  const nonsense = `http://127.0.0.1:${(garbled.address() as AddressInfo).port}`
  const packed = await upstream(t, (_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end('hunter2')
  })
  const loop = await upstream(t, (_, response) => {
    response.writeHead(302, { location: '/' }).end()
  })
  const wordy = await upstream(t, (_, response) => {
    response.writeHead(200, { 'x-in': 'hunter2'.repeat(5_000) }).end()
  })
  const nowhere = await upstream(t, () => {}, { closed: true })

  /** As axios, got and ky throw for a status that is an error. */
  const thrower = (shape: (answer: Response) => object) => async () => {
    const answer = await fetch(refuses)
    throw Object.assign(new Error('Request failed with key hunter2'), shape(answer))
  }
  const headersOf = ({ headers }: Response) => Object.fromEntries(headers)
  const node = (url: string) => () =>
    new Promise<IncomingMessage>((resolve, reject) => {
      request(url, resolve).on('error', reject).end()
    })
  const ways: Record<string, [object, () => Promise<unknown>]> = {
    'fetch, refused': [BAD_GATEWAY, () => fetch(nowhere)],
    'fetch, unknown host': [BAD_GATEWAY, () => fetch('http://nowhere.invalid')],
    'fetch, cut off': [BAD_GATEWAY, () => fetch(cut)],
    'fetch, cut off in the body': [BAD_GATEWAY, async () => (await fetch(half)).text()],
    'fetch, no HTTP': [BAD_GATEWAY, () => fetch(nonsense)],
    'fetch, not packed as it says': [BAD_GATEWAY, async () => (await fetch(packed)).text()],
    'fetch, redirected without end': [BAD_GATEWAY, () => fetch(loop)],
    'fetch, too many headers': [BAD_GATEWAY, () => fetch(wordy)],
    'fetch, late': [LATE, () => fetch(silent, { signal: AbortSignal.timeout(20) })],
    'node:http, refused': [BAD_GATEWAY, node(nowhere)],
    'node:http, cut off': [BAD_GATEWAY, node(cut)],
    'node:http, no HTTP': [BAD_GATEWAY, node(nonsense)],
    'node:https, no TLS': [
      BAD_GATEWAY,
      async () => {
        const [err] = await event(https.get(silent.replace('http', 'https')), 'error')
        throw err
      },
    ],
    'axios, a status': [
      BAD_GATEWAY,
      thrower((answer) => {
        const { status } = answer
        const config = { headers: { Authorization: 'Bearer hunter2' } }
        return { isAxiosError: true, code: 'ERR_BAD_REQUEST', status, config, response: { status, config } }
      }),
    ],
    'got, a status': [
      BAD_GATEWAY,
      thrower((answer) => ({
        code: 'ERR_NON_2XX_3XX_RESPONSE',
        response: { statusCode: 401, headers: headersOf(answer) },
      })),
    ],
    'ky, a status': [BAD_GATEWAY, thrower((response) => ({ name: 'HTTPError', response }))],
    'undici, a status': [
      BAD_GATEWAY,
      thrower((answer) => ({ code: 'UND_ERR_RESPONSE', statusCode: 401, headers: headersOf(answer), body: 'hunter2' })),
    ],
    'axios, late': [LATE, thrower(() => ({ code: 'ECONNABORTED', message: 'timeout of 20ms exceeded' }))],
    'axios, cancelled by a timer': [
      LATE,
      async () => {
        const signal = AbortSignal.timeout(1)
        await fetch(silent, { signal }).catch(() => {})
        throw Object.assign(new Error('canceled'), { name: 'CanceledError', code: 'ERR_CANCELED', config: { signal } })
      },
    ],
    'axios, redirected without end': [BAD_GATEWAY, thrower(() => ({ code: 'ERR_FR_TOO_MANY_REDIRECTS' }))],
    'undici, late': [LATE, thrower(() => ({ name: 'TypeError', cause: { code: 'UND_ERR_HEADERS_TIMEOUT' } }))],
  }
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get<{ Params: { way: string } }>('/:way', ({ params }) => ways[params.way]?.[1]())
  })
  for (const [way, [expected]] of Object.entries(ways)) {
    app.logs.length = 0
    const answer = await app.inject(`/${encodeURIComponent(way)}`)
    t.same(answer.json(), expected, way)
    t.equal(answer.statusCode, answer.json().statusCode)
    t.notMatch(JSON.stringify(answer.headers), /hunter2|public/)
    const [line, ...rest] = app.logs.filter(({ msg }) => msg !== 'request')
    t.match(line, { level: 40, msg: 'upstream failed', status: answer.statusCode, err: { message: String } })
    t.same(rest, [])
    t.notMatch(JSON.stringify(line), /Authorization|set-cookie/, 'nor does the log hold headers')
  }
})

t.test('a socket of a handler’s own that is refused is no backend’s', async (t) => {
  const app = await build(t, { MIGRATIONS: 'off' }, async (fastify) => {
    fastify.get('/', async () => {
      const [err] = await event(connect(1, '127.0.0.1'), 'error')
      throw err
    })
  })
  t.same((await app.inject('/')).json(), BAD_GATEWAY)
})
