import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { copyProject, ROOT } from '../helper.ts'

/** No probe may take longer: the kubelet's default timeout. */
export const PROBE_LIMIT_MS = 1_000

/** Short deadlines, so that the tests are quick; what is left of a second allows for a slow machine. */
export const QUICK = { HEALTH_TIMEOUT_MS: '300', HEALTH_CACHE_MS: '1000', REDIS_COMMAND_TIMEOUT_MS: '200' }

export interface Answer {
  status: number
  ms: number
  body: Record<string, unknown>
}

/** Asks one route, as a prober does: on a new connection, one request every 50 ms, until the test ends. */
export class Prober {
  readonly answers: Answer[] = []
  #stopped = false

  constructor(t: Test, url: string) {
    t.teardown(() => {
      this.#stopped = true
    })
    void this.#run(url)
  }

  async #run(url: string): Promise<void> {
    while (!this.#stopped) {
      this.answers.push(await ask(url))
      await sleep(50)
    }
  }

  /** The next answer, from now on, that has this status. */
  async next(status: number): Promise<Answer> {
    const from = this.answers.length
    for (;;) {
      const answer = this.answers.slice(from).find((one) => one.status === status)
      if (answer) return answer
      await sleep(10)
    }
  }

  /** Milliseconds of the slowest answer. */
  get slowest(): number {
    return Math.max(...this.answers.map(({ ms }) => ms))
  }

  count(status: number): number {
    return this.answers.filter((answer) => answer.status === status).length
  }
}

/** One request on a connection of its own. Status 0: no answer. */
export async function ask(url: string): Promise<Answer> {
  const started = performance.now()
  try {
    const response = await fetch(url, { headers: { connection: 'close' } })
    const body = (await response.json()) as Record<string, unknown>
    return { status: response.status, ms: performance.now() - started, body }
  } catch {
    return { status: 0, ms: performance.now() - started, body: {} }
  }
}

/** A TCP proxy in front of a server, which can swallow every byte in both directions, as a broken network does. */
export class TcpProxy {
  #sockets = new Set<Socket>()
  #swallows = false
  readonly url: string

  private constructor(url: string) {
    this.url = url
  }

  static async start(t: Test, target: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(target)
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = new URL(target)
    url.port = String((server.address() as AddressInfo).port)
    const proxy = new TcpProxy(url.href)
    server.on('connection', (client) => proxy.#join(client, connect(Number(port), hostname)))
    t.teardown(() => {
      server.close()
      for (const socket of proxy.#sockets) socket.destroy()
    })
    return proxy
  }

  /** From now on nothing arrives, and nobody is told. */
  swallow(): void {
    this.#swallows = true
  }

  /** New connections work again; those of before stay dead. */
  heal(): void {
    this.#swallows = false
  }

  #join(client: Socket, server: Socket): void {
    let dead = false
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => this.#sockets.delete(from))
      from.on('data', (chunk) => {
        dead ||= this.#swallows
        if (!dead) to.write(chunk)
      })
      from.on('end', () => {
        dead ||= this.#swallows
        if (!dead) to.end()
      })
    }
  }
}

const ROUTES = `
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
export default async (fastify) => {
  fastify.get('/sleep', async ({ query }) => sleep(Number(query.ms), { slept: query.ms }))
  fastify.get('/query', async ({ query }) => (await sql\`select pg_sleep(\${query.seconds ?? 0})\`.execute(fastify.db)).rows)
  fastify.get('/pool', async () => {
    const { totalCount, idleCount, waitingCount } = fastify.pg.pool
    return { totalCount, idleCount, waitingCount, listeners: fastify.pg.pool.listenerCount('error') + fastify.redis.listenerCount('close') }
  })
  fastify.get('/transaction', async ({ query }) =>
    fastify.db.transaction().execute(async (trx) => {
      await sql\`select 1\`.execute(trx)
      await sleep(Number(query.ms))
      return (await sql\`select pg_sleep(\${query.seconds ?? 0})\`.execute(trx)).rows
    }))
  fastify.get('/crash', async () => { setTimeout(() => { throw Object.assign(new Error('crash'), { command: { args: ['hunter2'] } }) }) })
  fastify.get('/reject', async () => { Promise.reject(new Error('rejected')) })
}
`

/** A copy of the project with routes that keep the backends busy, added as a template's user adds routes. */
export async function projectWithRoutes(t: Test, files: Record<string, string> = {}): Promise<string> {
  const app = await readFile(path.join(ROOT, 'src/app.ts'), 'utf8')
  return copyProject(t, {
    'src/routes/faults.ts': ROUTES,
    'src/app.ts': app
      .replace(/^import healthRoutes/m, "import faults from './routes/faults.ts'\n$&")
      .replace('await fastify.register(healthRoutes)', '$&\n    await fastify.register(faults)'),
    ...files,
  })
}
