import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import type { Server } from '../../dev/server.ts'
import { Client } from '../support/client.ts'
import { backends, event, query, ROOT, sharedDatabase, until, within } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'
import { BIG } from '../support/routes.ts'
import { ask, Prober, ROUTES, SHIPPED } from '../support/tools.ts'

// Most of what these tests do is wait.
t.jobs = 3

/** Where it counts for coverage: most of src/server.ts is about leaving. */
const SOURCE = { source: ROOT }

async function start(t: Test, env: NodeJS.ProcessEnv = {}, options = {}) {
  const DATABASE_URL = env['DATABASE_URL'] ?? (await sharedDatabase())
  const service = new Service(t, { ...SHIPPED, ...ROUTES, DATABASE_URL, ...env }, options)
  const url = await service.url()
  await service.logged('ready')
  return { service, url }
}

t.test('SIGTERM under direct keep-alive load loses no request', async (t) => {
  const { service, url } = await start(t, {}, SOURCE)
  const clients = Array.from({ length: 16 }, () => new Client(`${url}/sleep?ms=1`))
  const running = Promise.all(clients.map((client) => client.run()))
  await until(
    async () => clients.reduce((sum, { answered }) => sum + answered, 0),
    (answered) => answered > 500,
  )
  service.child.kill('SIGTERM')
  await within(running, () => service.output)
  t.equal(await service.exited, 0)
  t.same(
    clients.flatMap(({ lost }) => lost),
    [],
  )
})

t.test(
  'SIGTERM: ready says draining at once, other routes answer for the delay, what is in flight finishes',
  async (t) => {
    const { service, url } = await start(t, { SHUTDOWN_DELAY_MS: '3000' })
    const slow = ask(`${url}/sleep?ms=4000`)
    await ask(`${url}/sleep?ms=0`)
    service.child.kill('SIGTERM')
    await service.logged('leaving')
    const ready = await ask(`${url}/health/ready`)
    t.equal(ready.status, 503)
    t.match(ready.body, { status: 'not_ready', draining: true })
    t.equal((await ask(`${url}/health/live`)).status, 200)
    t.equal((await ask(`${url}/sleep?ms=0`)).status, 200)
    t.equal((await slow).status, 200)
    t.equal(await service.exited, 0)
  },
)

/** What PostgreSQL can be in when the service is told to leave. */
interface Fault {
  bring(postgres: Server, url: string): unknown
  /** Back from settings: stopping and pausing is undone for all. */
  mend?(postgres: Server): unknown
  /** It cannot leave in time. */
  late?: true
}

const faults: Record<string, Fault> = {
  hangs: { bring: (postgres) => postgres.pause() },
  'hangs, and a request waits for it': {
    late: true,
    bring: async (postgres, url) => {
      postgres.pause()
      ask(`${url}/query`)
      await until(
        async () => (await ask(`${url}/pool`)).body,
        ({ idleCount }) => idleCount === 0,
      )
    },
  },
  'is stopped': { bring: (postgres) => postgres.stop() },
  'has given its every connection to slow queries': {
    bring: async (_, url) => {
      const slow = [1, 2].map(() => ask(`${url}/query?seconds=2`))
      await until(
        async () => (await ask(`${url}/pool`)).body,
        ({ totalCount, idleCount }) => totalCount === 2 && idleCount === 0,
      )
      void Promise.all(slow)
    },
  },
  'is read-only': {
    bring: async ({ url }) => {
      await query(url, 'alter system set default_transaction_read_only = on')
      await query(url, 'select pg_reload_conf()')
    },
    mend: async ({ url }) => {
      await query(`${url}?options=-cdefault_transaction_read_only=off`, 'alter system reset all')
      await query(url, 'select pg_reload_conf()')
    },
  },
  'has lost every backend process': {
    bring: ({ url }) =>
      query(url, 'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()'),
  },
  'has another password': {
    bring: ({ url }) => query(url, `alter role postgres password 'changed'`),
    mend: ({ url }) => {
      const changed = Object.assign(new URL(url), { password: 'changed' }).href
      return query(changed, `alter role postgres password '${new URL(url).password}'`)
    },
  },
}

t.test('SIGTERM while PostgreSQL', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const env = { DATABASE_URL: postgres.url, DATABASE_POOL_MAX: '2' }
  for (const [state, { bring, mend, late }] of Object.entries(faults)) {
    const code = late ? 1 : 0
    await t.test(`${state}: exit ${code}`, async (t) => {
      const { service, url } = late
        ? await start(t, { ...env, SHUTDOWN_TIMEOUT_MS: '2000' }, SOURCE)
        : await start(t, env)
      await ask(`${url}/query`)
      t.teardown(async () => {
        await postgres.restore()
        await mend?.(postgres)
      })
      await bring(postgres, url)
      service.child.kill('SIGTERM')
      t.equal(await service.exited, code)
    })
  }

  await t.test('hangs, and the service was never ready: it leaves without the delay', async (t) => {
    t.teardown(() => postgres.restore())
    postgres.pause()
    const service = new Service(t, { ...SHIPPED, ...env, SHUTDOWN_DELAY_MS: '600000' })
    await service.logged('waiting for the database')
    service.child.kill('SIGTERM')
    t.equal(await service.exited, 0)
  })
})

/** The service with a module in place of src/app.ts. */
function loading(t: Test, source: string): Service {
  const hooks = `
    import { registerHooks } from 'node:module'
    const source = ${JSON.stringify(source)}
    registerHooks({
      load: (url, context, next) =>
        url.endsWith('/src/app.ts') ? { format: 'module', shortCircuit: true, source } : next(url, context),
    })`
  return new Service(t, { NODE_OPTIONS: preload(hooks), DATABASE_URL: backends.database }, SOURCE)
}

t.test('SIGTERM while the service still loads: exit 0', async (t) => {
  const service = loading(t, 'console.error("loading"); await new Promise(() => setInterval(() => {}, 1000))')
  await until(
    async () => service.output,
    (output) => output.includes('loading'),
  )
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

t.test('a module that cannot be loaded: exit 1, and why', async (t) => {
  const service = loading(t, 'throw new Error("of a module")')
  t.equal(await service.exited, 1)
  t.match(service.output, /Error: of a module/)
})

t.test('in production the delay is there unless it is set, and the log says why it leaves', async (t) => {
  const { service, url } = await start(t, { NODE_ENV: 'production' }, SOURCE)
  service.child.kill('SIGTERM')
  t.match(await service.logged('leaving'), { level: 30, signal: 'SIGTERM' })
  t.match(await ask(`${url}/health/ready`), { status: 503, body: { draining: true } })
  service.child.kill('SIGINT')
  t.equal(await service.exited, 1)
})

for (const route of ['/crash', '/crash/null', '/crash/object', '/crash/around', '/reject', '/reject/undefined']) {
  t.test(`an uncaught error (${route}) is logged once, without secrets, and ends the process with 1`, async (t) => {
    const { service, url } = await start(t, {}, SOURCE)
    const slow = ask(`${url}/sleep?ms=500`)
    await ask(`${url}/sleep?ms=0`) // behind it
    await ask(`${url}${route}`)
    t.equal((await slow).status, 200, 'what is in flight finishes')
    t.equal(await service.exited, 1)
    const fatal = service.logs.filter(({ level }) => level === 60)
    t.match(fatal, [{ msg: 'uncaught error', err: { message: String } }])
    t.equal(fatal.length, 1)
    t.notMatch(service.output, /hunter2/)
  })
}

t.test('a signal after an uncaught error changes nothing, a second error ends it at once', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_DELAY_MS: '600000' }, SOURCE)
  await ask(`${url}/crash`)
  await service.logged('uncaught error')
  service.child.kill('SIGTERM')
  t.match(await ask(`${url}/health/ready`), { status: 503, body: { draining: true } })
  await ask(`${url}/crash`)
  t.equal(await service.exited, 1)
})

t.test('what fails while it leaves is logged, exit 1', async (t) => {
  const NODE_OPTIONS = preload(`
    import { subscribe } from 'node:diagnostics_channel'
    subscribe('fastify.initialization', ({ fastify }) => {
      fastify.addHook('onClose', async () => { throw new Error('cannot close') })
    })`)
  const { service } = await start(t, { NODE_OPTIONS }, SOURCE)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 1)
  t.match(service.fatal, { err: { message: 'cannot close' } })
})

/** A connection whose client sends and reads what the test says. */
function client(t: Test, url: string, request: string): Socket {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname).on('error', () => {})
  t.teardown(() => socket.destroy())
  socket.write(request)
  return socket
}

/** Waits until connections without a request are closed: those that the drain cuts are gone then. */
async function swept(t: Test, url: string, service: Service): Promise<void> {
  const half = client(t, url, 'GET / HTTP/1.1\r\n')
  half.resume()
  await ask(`${url}/sleep?ms=0`) // it is accepted
  service.child.kill('SIGTERM')
  await event(half, 'close')
}

t.test('SIGTERM: an answer that its client has not read yet is delivered to the end', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_TIMEOUT_MS: '600000' }, SOURCE)
  const slow = client(t, url, 'GET /big HTTP/1.1\r\nhost: x\r\n\r\n').pause()
  await event(slow, 'readable')
  await swept(t, url, service)
  let bytes = 0
  slow.on('data', (chunk) => {
    bytes += chunk.length
  })
  await event(slow, 'end')
  t.ok(bytes > BIG, `${bytes} bytes`)
  t.equal(await service.exited, 0)
})

t.test('SIGTERM: what is in flight is answered with `connection: close`, the last of what is pipelined', async (t) => {
  const { service, url } = await start(t, {}, SOURCE)
  const request = 'GET /sleep?ms=2500 HTTP/1.1\r\nhost: x\r\n\r\n'
  const one = client(t, url, request)
  const two = client(t, url, request + request)
  const later = client(t, url, request)
  await ask(`${url}/sleep?ms=0`) // behind them
  service.child.kill('SIGTERM')
  await until(
    () => ask(`${url}/health/live`),
    ({ status }) => status === 0,
  )
  later.write(request + request)
  const answers = [
    [one, ['close']],
    [two, ['keep-alive', 'close']],
    [later, ['keep-alive', 'keep-alive', 'close']],
  ] as const
  const check = answers.map(async ([socket, headers]) => {
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    await event(socket, 'end')
    t.same(
      Array.from(text.matchAll(/^connection: (\S+)/gim), ([, header]) => header),
      headers,
    )
  })
  await Promise.all(check)
  t.equal(await service.exited, 0)
})

t.test('SIGTERM: neither half-sent headers nor the rest of a body whose answer is there delay it', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_TIMEOUT_MS: '600000' }, SOURCE)
  const answered = client(t, url, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf')
  t.match(String((await event(answered, 'data'))[0]), /^HTTP\/1.1 404 /)
  const complete = client(t, url, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf')
  await event(complete, 'data')
  complete.write('12345GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n')
  t.match(String((await event(complete, 'data'))[0]), /^HTTP\/1.1 200 /, 'the connection goes on behind the rest')
  const refused = client(t, url, 'POST / HTTP/1.1\r\nhost: x\r\nexpect: more\r\ncontent-length: 9\r\n\r\n')
  t.match(String((await event(refused, 'data'))[0]), /^HTTP\/1.1 417 /)
  client(t, url, 'GET / HTTP/1.1\r\nhost: x\r\n')
  await ask(`${url}/sleep?ms=0`) // it is accepted
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

const UPLOAD = 'POST /upload HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"a":'

t.test('SIGTERM: an upload that has begun may end', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_TIMEOUT_MS: '600000' }, SOURCE)
  const upload = client(t, url, UPLOAD)
  await swept(t, url, service)
  upload.write('123}')
  t.match(String((await event(upload, 'data'))[0]), /^HTTP\/1.1 200 /)
  upload.end()
  t.equal(await service.exited, 0)
})

t.test('what SHUTDOWN_TIMEOUT_MS cuts: exit 1, and one line that counts it', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_TIMEOUT_MS: '1500' }, SOURCE)
  client(t, url, UPLOAD)
  const slow = client(t, url, 'GET /big HTTP/1.1\r\nhost: x\r\n\r\n').pause()
  await event(slow, 'readable')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 1)
  t.match(
    service.logs.filter(({ level }) => level > 40),
    [{ msg: 'cannot leave in time', requests: 2 }],
  )
})

/** Has `localhost` mean these addresses. */
const named = (...addresses: string[]) =>
  preload(`
    import dns from 'node:dns/promises'
    import { syncBuiltinESMExports } from 'node:module'
    const { lookup } = dns
    dns.lookup = (name, options) =>
      name === 'localhost' ? ${JSON.stringify(addresses.map((address) => ({ address })))} : lookup(name, options)
    syncBuiltinESMExports()`)

t.test('HOST=localhost serves and drains on each of its addresses', async (t) => {
  const NODE_OPTIONS = `${ROUTES.NODE_OPTIONS} ${named('127.0.0.1', '::1', '127.0.0.2', '203.0.113.1')}`
  const { service, url } = await start(t, { NODE_OPTIONS, HOST: 'localhost' }, SOURCE)
  await until(
    () => service.logs.map(({ msg }) => msg),
    (messages) => messages.some((msg) => msg.includes('127.0.0.2')),
  )
  const other = url.replace('127.0.0.1', '127.0.0.2')
  const slow = [url, other].map((address) => ask(`${address}/sleep?ms=2000`))
  await Promise.all([url, other].map((address) => ask(`${address}/sleep?ms=0`)))
  service.child.kill('SIGTERM')
  t.match(await Promise.all(slow), [{ status: 200 }, { status: 200 }])
  t.equal(await service.exited, 0)
})

t.test('HOST=localhost whose first address this machine has not; and a host that it has not', async (t) => {
  const absent = '203.0.113.1'
  const { service, url } = await start(t, { NODE_OPTIONS: named(absent, '127.0.0.1'), HOST: 'localhost' }, SOURCE)
  t.match(url, /127.0.0.1/)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  const none = new Service(t, { DATABASE_URL: await sharedDatabase(), HOST: absent }, SOURCE)
  t.equal(await none.exited, 1)
  t.match(none.fatal, { err: { code: 'EADDRNOTAVAIL' } })
})

t.test('HOST=localhost with the port taken on one of its addresses: exit 1', async (t) => {
  const other = createServer().listen(0, '127.0.0.2')
  await event(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const env = { NODE_OPTIONS: named('127.0.0.1', '127.0.0.2'), HOST: 'localhost', PORT: String(port) }
  const service = new Service(t, { DATABASE_URL: await sharedDatabase(), ...env }, SOURCE)
  t.equal(await service.exited, 1)
  t.match(service.fatal, { err: { code: 'EADDRINUSE', message: /127.0.0.2/ } })
})

t.test('200 slow clients that never finish a request are closed, and the probes stay well', async (t) => {
  const { url } = await start(t)
  const { hostname, port } = new URL(url)
  const closed = Array.from({ length: 200 }, async () => {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ')
    const drip = setInterval(() => socket.write('a'), 500)
    socket.resume()
    await event(socket, 'close')
    clearInterval(drip)
  })
  const [live, ready] = ['/health/live', '/health/ready'].map((path) => new Prober(t, url + path)) as [Prober, Prober]
  await Promise.all(closed)
  await ready.next(200)
  live.failedAtMost(t, 0, live)
  ready.failedAtMost(t, 0, live)
})
