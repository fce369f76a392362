import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import t, { type Test } from 'tap'
import { hitLog } from '../../src/core/limits/hits.ts'
import { build, configure } from '../support/app.ts'
import { event, sharedDatabase, until, within } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'
import { ask } from '../support/tools.ts'

// Most of what these tests do is wait.
t.jobs = 4

/** More than the system takes of an answer that nobody reads. */
const LARGE = 16 * 1024 * 1024
const FULL = 'connections are at their limit'
const UNREAD = 'clients do not read their answers'

async function start(t: Test, env: NodeJS.ProcessEnv) {
  const release = Promise.withResolvers<void>()
  t.teardown(() => release.resolve())
  let waiting = 0
  const app = await build(t, { MIGRATIONS: 'off', ...env }, async (fastify) => {
    const wait = async () => {
      waiting++
      await release.promise
      return 'waited'
    }
    fastify.get('/wait', wait)
    fastify.get('/wait-as-a-probe', { config: { quiet: true } }, wait)
    fastify.get<{ Querystring: { ms: string } }>('/sleep', ({ query }) => sleep(Number(query.ms), 'slept'))
    fastify.get('/large', async () => 'x'.repeat(LARGE))
    fastify.get('/wait-large', () => wait().then(() => Buffer.alloc(LARGE)))
    fastify.get('/heedless', (_, reply) => {
      reply.hijack()
      reply.raw.write(Buffer.alloc(LARGE))
      reply.raw.end(Buffer.alloc(LARGE))
    })
    fastify.get('/latin1', (_, reply) => {
      reply.hijack()
      reply.raw.end('é'.repeat(LARGE / 16), 'latin1')
    })
    fastify.get('/write-after-end', async (_, reply) => {
      reply.hijack()
      await wait()
      await event(reply.raw, 'close')
      reply.raw.write('nobody reads this')
    })
    fastify.get('/stream', async () =>
      Readable.from(
        (async function* () {
          for (let part = 0; part < 16; part++) yield Buffer.alloc(LARGE / 16)
          await release.promise
          yield 'end'
        })(),
      ),
    )
    fastify.post('/', async () => 'arrived')
    fastify.post('/patient', { config: { requestTimeoutMs: 5_000 } }, async () => 'arrived')
  })
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  const client = () => new Client(t, Number(port))
  const count = (msg: string) => app.logs.filter((line) => line.msg === msg).length
  return {
    app,
    client,
    count,
    release: release.resolve,
    waiting: (number: number) =>
      until(
        () => waiting,
        (n) => n === number,
      ),
  }
}

/** One connection, of which every byte is the test's. */
class Client {
  readonly socket: Socket
  readonly closed: Promise<unknown>
  text = ''
  bytes = 0

  constructor(t: Test, port: number) {
    this.socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => this.socket.destroy())
    this.closed = new Promise((resolve) => this.socket.once('close', resolve))
  }

  async open(): Promise<this> {
    await event(this.socket, 'connect')
    return this
  }

  send(text: string): this {
    this.socket.write(text)
    return this
  }

  get(path: string): this {
    return this.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
  }

  read(): this {
    this.socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length
      this.text = (this.text + chunk.toString('latin1')).slice(0, 10_000)
    })
    return this
  }

  /** Until the answers hold this text. */
  async got(text: string): Promise<void> {
    await until(
      () => this.text,
      (all) => all.includes(text),
    )
  }

  async gone(): Promise<void> {
    this.socket.resume()
    await within(this.closed, () => this.text)
  }
}

t.test('at the limit a new connection takes the place of the one that is idle for longest', async (t) => {
  const { client, app } = await start(t, { MAX_CONNECTIONS: '2' })
  const first = await client().open()
  const second = await client().open()
  await first.get('/sleep?ms=0').read().got('slept')
  await sleep(600) // one that is new is spared for half a second
  const third = await client().open()
  await second.gone()
  await third.get('/health/live').read().got('200 OK')
  await sleep(600)
  await client().get('/sleep?ms=0').read().got('slept')
  await first.gone()
  t.match(
    app.logs.filter(({ msg }) => msg === FULL),
    [{ level: 40, limit: 2, closedIdle: 1 }],
    'one line',
  )
})

t.test('where every connection is busy a few more are open for probes', async (t) => {
  const { client, app, waiting, release } = await start(t, { MAX_CONNECTIONS: '1' })
  const busy = client().get('/wait')
  await waiting(1)
  const refused = client().get('/sleep?ms=0').read()
  await refused.gone()
  t.match(refused.text, /^HTTP\/1.1 503 [^{]*connection: close[^{]*retry-after: 1[^{]*{.*TOO_MANY_CONNECTIONS/s)
  const probe = client().get('/health/live').read()
  await probe.gone()
  t.match(probe.text, /^HTTP\/1.1 200 .*connection: close/s)
  // At once, and none before its request has come.
  for (let spare = 0; spare < 16; spare++) client().get('/wait-as-a-probe')
  await waiting(17)
  t.equal(app.limits.connections.dropped, 0)
  await client().gone()
  t.equal(app.limits.connections.dropped, 1)
  t.match(
    app.logs.find(({ msg }) => msg === FULL),
    { limit: 1, refused: 1 },
  )
  release()
  await busy.read().got('waited')
})

t.test('connections that came late and are idle give their place to probes alone', async (t) => {
  const { client, waiting, release } = await start(t, { MAX_CONNECTIONS: '1' })
  for (let open = 0; open < 17; open++) await client().open()
  await sleep(600) // they are new for half a second
  const busy = client().get('/wait').read()
  await waiting(1)
  for (let more = 0; more < 16; more++) {
    const refused = client().get('/wait').read()
    await refused.gone()
    t.match(refused.text, /^HTTP\/1.1 503 /)
  }
  await client().get('/health/live').read().got('200 OK')
  release()
  await busy.got('waited')
})

t.test('half of the open files are for connections', async (t) => {
  const { app } = await start(t, { MAX_CONNECTIONS: '1000000' })
  t.ok(app.logs.some(({ msg }) => msg === 'open files allow fewer connections than MAX_CONNECTIONS'))
})

t.test('100 idle connections where 128 files may be open: every probe is answered', async (t) => {
  const wrapper = ['sh', '-c', 'ulimit -n 128 && exec "$@"', 'sh']
  const service = new Service(t, { DATABASE_URL: await sharedDatabase() }, { wrapper })
  const url = new URL(await service.url())
  await service.logged('ready')
  for (let idle = 0; idle < 100; idle++) await new Client(t, Number(url.port)).open()
  const probes = ['/health/live', '/health/ready', '/health'].flatMap((path) => Array(20).fill(new URL(path, url).href))
  const answers = await Promise.all(probes.map((probe) => ask(probe)))
  t.same([...new Set(answers.map(({ status }) => status))], [200])
  t.match(await service.logged(FULL), { limit: 48, closedIdle: 1 })
})

t.test('a connection that was opened ahead is idle, however long its first request takes to come', async (t) => {
  const { app, client } = await start(t, { HEADERS_TIMEOUT_MS: '1', REQUEST_TIMEOUT_MS: '1' })
  const ahead = await client().open()
  const unused = await client().open()
  await event(app.server, 'clientError')
  await ahead.get('/sleep?ms=0').read().got('slept')
  app.server.closeIdleConnections()
  await unused.gone()
  t.equal(unused.text, '')
})

t.test('an idle connection is closed in its time, before its first request and after it', async (t) => {
  const { client } = await start(t, { KEEP_ALIVE_TIMEOUT_MS: '100' })
  await (await client().open()).gone()
  // Again where a busy machine has the request come after that time.
  const used = await until(
    async () => {
      const used = client().get('/sleep?ms=500').read()
      await used.gone()
      return used.text
    },
    (text) => text !== '',
  )
  t.match(used, /200 OK[\s\S]*slept/, 'a request under way is not idle')
})

t.test('a request has its time to arrive, which a route can prolong', async (t) => {
  const { app, client } = await start(t, { HEADERS_TIMEOUT_MS: '1', REQUEST_TIMEOUT_MS: '1' })
  const half = (path: string) =>
    client().send(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nha`).read()
  const late = half('/')
  const headers = client().send('GET / HTTP/1.1\r\nhost: x\r\nx-half: ').read()
  const upload = half('/patient')
  const never = half('/patient')
  for (const client of [late, headers]) {
    await client.gone()
    t.match(client.text, /^HTTP\/1.1 408/)
  }
  t.equal(upload.text, '')
  await upload.send('lf').got('arrived')
  await never.gone()
  t.match(never.text, /^HTTP\/1.1 408/, 'not for ever')
  const garbage = client().send('garbage\r\n\r\n').read()
  await garbage.gone()
  t.match(garbage.text, /^HTTP\/1.1 400/)
  t.equal(app.server.requestTimeout, 1)
})

t.test('a client that reads nothing of its answer is cut off', async (t) => {
  const { app, client } = await start(t, { SEND_TIMEOUT_MS: '300' })
  const silent = client().get('/heedless').get('/large')
  silent.socket.pause()
  await until(
    () => app.logs.find(({ msg }) => msg === UNREAD),
    (line) => line?.['timedOut'] === 1,
  )
  await silent.gone()
})

t.test('the time to read a pipelined answer is none of the next one, nor is its connection idle', async (t) => {
  const { client, count, waiting, release } = await start(t, { SEND_TIMEOUT_MS: '3000', MAX_CONNECTIONS: '1' })
  const pipelined = client().get('/large').get('/wait').read()
  await waiting(1)
  await until(
    () => pipelined.bytes,
    (bytes) => bytes > LARGE,
  )
  // No event tells of a connection that is not cut off.
  await sleep(5_000)
  await client().get('/health/live').read().got('200 OK')
  const before = pipelined.bytes
  release()
  await until(
    () => pipelined.bytes,
    (bytes) => bytes > before,
  )
  t.equal(count(UNREAD), 0)
})

t.test('a long answer keeps its encoding', async (t) => {
  const { client } = await start(t, {})
  await client()
    .get('/latin1')
    .read()
    .got(`Content-Length: ${LARGE / 16}\r\n`)
})

t.test('a client that reads slowly is not, nor one whose answer is made slowly', async (t) => {
  const { client, count, release } = await start(t, { SEND_TIMEOUT_MS: '5000' })
  const slow = client().get('/large').get('/large').read()
  slow.socket.on('data', () => slow.socket.pause())
  const resume = setInterval(() => slow.socket.resume(), 5)
  // Also where it was cut off: left running, it would keep this file from its end.
  t.teardown(() => clearInterval(resume))
  await until(
    () => slow.bytes,
    (bytes) => bytes > 2 * LARGE,
  )
  clearInterval(resume)
  const stream = client().get('/stream').read()
  await until(
    () => stream.bytes,
    (bytes) => bytes > LARGE,
  )
  // No event tells of a client that is not cut off.
  await sleep(6_000)
  const before = stream.bytes
  release()
  await until(
    () => stream.bytes,
    (bytes) => bytes > before,
  )
  t.equal(count(UNREAD), 0)
})

t.test('unread answers have a size together: requests wait, then the oldest is cut off', async (t) => {
  const { client, count } = await start(t, { UNREAD_LIMIT_BYTES: String(1.5 * LARGE) })
  const unread = async () => {
    const silent = client().get('/large')
    silent.socket.pause()
    await event(silent.socket, 'readable').catch(() => {})
    return silent
  }
  const first = await unread()
  const second = await unread()
  const third = client().get('/large')
  third.socket.pause()
  await client().get('/health/live').read().got('200 OK')
  t.equal(count(UNREAD), 0)
  first.read().socket.resume()
  await until(
    () => first.bytes,
    (bytes) => bytes > LARGE,
  )
  await event(third.socket, 'readable')
  t.equal(count(UNREAD), 0, 'it was enough to read')
  await client().get('/sleep?ms=0').read().got('slept')
  await second.gone()
  t.equal(count(UNREAD), 1)
})

t.test('what is written to an answer whose client is gone is not unread', async (t) => {
  const { client, count, waiting, release } = await start(t, { UNREAD_LIMIT_BYTES: String(1.5 * LARGE) })
  const gone = client().get('/write-after-end')
  await waiting(1)
  gone.socket.destroy()
  release()
  const silent = [1, 2].map(() => client().get('/large'))
  for (const { socket } of silent) {
    socket.pause()
    await event(socket, 'readable')
  }
  await client().get('/sleep?ms=0').read().got('slept')
  await silent[0]?.gone()
  t.equal(count(UNREAD), 1)
})

t.test(
  'answers of requests that were under way when the limit was reached: the oldest is cut off at once',
  async (t) => {
    const { app, client, waiting, release } = await start(t, { UNREAD_LIMIT_BYTES: String(1.5 * LARGE) })
    const silent = Array.from({ length: 4 }, () => client().get('/wait-large'))
    for (const { socket } of silent) socket.pause()
    await waiting(4)
    release()
    await until(
      () => app.logs.find(({ msg }) => msg === UNREAD),
      (line) => line?.['overSize'] === 1,
    )
  },
)

t.test('60 clients that do not read 4 MB leave the process its memory, and others their answers', async (t) => {
  const routes = preload(`
    import { subscribe } from 'node:diagnostics_channel'
    subscribe('fastify.initialization', ({ fastify }) => {
      fastify.get('/answer', async () => 'x'.repeat(4_000_000))
      fastify.get('/memory', async () => {
        gc()
        return process.memoryUsage()
      })
    })`)
  const env = {
    DATABASE_URL: await sharedDatabase(),
    UNREAD_LIMIT_BYTES: '20000000',
    NODE_OPTIONS: `--expose-gc ${routes}`,
  }
  const service = new Service(t, env)
  const url = await service.url()
  await service.logged('ready')
  const silent = Array.from({ length: 60 }, () => new Client(t, Number(new URL(url).port)).get('/answer'))
  for (const { socket } of silent) socket.pause()
  t.match(await service.logged(UNREAD), { limitBytes: 20_000_000 })
  t.equal((await ask(`${url}/health/ready`)).status, 200)
  const { body } = await ask(`${url}/memory`)
  t.ok((body['arrayBuffers'] as number) < 120_000_000, `${body['arrayBuffers']} bytes, half of what all have asked for`)
})

t.test('X-Forwarded- headers count as TRUST_PROXY says', async (t) => {
  const via = { 'x-forwarded-for': '1.1.1.1, 2.2.2.2, 10.0.0.2' }
  for (const [TRUST_PROXY, ip] of [
    [undefined, '::ffff:10.0.0.1'],
    ['false', '::ffff:10.0.0.1'],
    ['true', '1.1.1.1'],
    ['0', '::ffff:10.0.0.1'],
    ['2', '2.2.2.2'],
    ['10.0.0.1', '10.0.0.2'],
    ['127.0.0.1, 10.0.0.0/8', '2.2.2.2'],
    ['loopback,uniquelocal', '2.2.2.2'],
  ]) {
    const app = await build(t, { MIGRATIONS: 'off', TRUST_PROXY }, async (fastify) => {
      fastify.get('/ip', async (request) => request.ip)
    })
    const { body } = await app.inject({ url: '/ip', headers: via, remoteAddress: '::ffff:10.0.0.1' })
    t.equal(body, ip, String(TRUST_PROXY))
  }
  for (const TRUST_PROXY of ['yes', '10.0.0.0/33', '-1', ',']) {
    const configured = configure(t, { DATABASE_URL: 'postgres://localhost/app', TRUST_PROXY })
    await t.rejects(configured, { code: 'CONFIG_INVALID', message: /TRUST_PROXY must be/ }, TRUST_PROXY)
  }
})

t.test('hits are logged at once, then once a minute with their number', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const lines: object[] = []
  const log = { warn: (line: object) => lines.push(line) } as unknown as FastifyBaseLogger
  const hit = hitLog(log, 'hit', { limit: 1 })
  hit('a')
  for (let more = 0; more < 9; more++) hit('b')
  t.same(lines, [{ limit: 1, a: 1 }])
  mock.timers.tick(60_000)
  t.same(lines.slice(1), [{ limit: 1, b: 9 }])
  mock.timers.tick(120_000)
  t.equal(lines.length, 2)
  hit('a')
  t.same(lines.slice(2), [{ limit: 1, a: 1 }])
})
