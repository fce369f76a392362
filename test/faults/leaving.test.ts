import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import type { Server } from '../../dev/server.ts'
import { Client } from '../support/client.ts'
import { backends, event, query, ROOT, sharedDatabase, until, within } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'
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

t.test('SIGTERM while a client is in the middle of its headers, or of a body: exit 0 within the bound', async (t) => {
  const { service, url } = await start(t, { SHUTDOWN_TIMEOUT_MS: '10000' })
  const { hostname, port } = new URL(url)
  for (const half of ['GET / HTTP/1.1\r\nhost: x\r\n', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf']) {
    const socket = connect(Number(port), hostname).on('error', () => {})
    t.teardown(() => socket.destroy())
    socket.write(half)
  }
  await ask(`${url}/sleep?ms=0`)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
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
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 1)
})

t.test('a second signal exits at once', async (t) => {
  const { service } = await start(t, { SHUTDOWN_DELAY_MS: '600000' })
  service.child.kill('SIGTERM')
  await service.logged('leaving')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 1)
})

for (const route of ['/crash', '/reject']) {
  t.test(`an uncaught error (${route}) is logged once, without secrets, and ends the process with 1`, async (t) => {
    const { service, url } = await start(t, {}, SOURCE)
    const slow = ask(`${url}/sleep?ms=500`)
    await ask(`${url}/sleep?ms=0`) // behind it
    await ask(`${url}${route}`)
    t.equal((await slow).status, 200, 'what is in flight finishes')
    t.equal(await service.exited, 1)
    t.equal(service.logs.filter(({ level }) => level === 60).length, 1)
    t.notMatch(service.output, /hunter2/)
  })
}

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
