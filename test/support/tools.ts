import { EventEmitter } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { event, PATIENCE_MS, until } from './helper.ts'

/** No probe may take longer: the kubelet's default timeout. */
export const PROBE_LIMIT_MS = 1_000
/** A machine on which liveness took this long can be too slow for a check to be answered in its time. */
const SLOW_MS = 200

/** The deadlines are those of a service as it ships: shorter ones would measure the machine. */
export const SHIPPED = { HEALTH_CACHE_MS: '1000' }

export interface Answer {
  status: number
  ms: number
  body: Record<string, unknown>
}

/** The reason that `/health` gives for this check, if it gives one. */
export function reasonOf({ body }: Answer, check: 'database' | 'redis' = 'database'): string | undefined {
  return (body['services'] as Record<string, { reason?: string }> | undefined)?.[check]?.reason
}

/** Asks one route, as a prober does: on a new connection, one request every 100 ms, until the test ends. */
export class Prober {
  readonly answers: Answer[] = []
  #stopped = false
  #due = performance.now()

  constructor(t: Test, url: string) {
    t.teardown(() => {
      this.#stopped = true
    })
    void this.#run(url)
  }

  async #run(url: string): Promise<void> {
    while (!this.#stopped) {
      const answer = await ask(url)
      // From when it was due: what stops this process shows too, although then nothing is asked.
      this.answers.push({ ...answer, ms: performance.now() - this.#due })
      this.#due = performance.now() + 100
      await sleep(100)
    }
  }

  /** The next answer, from now on, that has this status, and for which this holds. Fails with the last that came. */
  async next(status: number, holds = (_: Answer) => true): Promise<Answer> {
    const from = this.answers.length
    const matches = (one: Answer) => one.status === status && holds(one)
    const found = () => this.answers.slice(from).find(matches)
    const wanted = await until(
      () => found() ?? { wanted: status, last: this.answers.at(-1) },
      () => found() !== undefined,
    )
    return wanted as Answer
  }

  /** Milliseconds of the slowest answer, or of the one that is waited for. */
  get slowest(): number {
    return Math.max(performance.now() - this.#due, ...this.answers.map(({ ms }) => ms))
  }

  /**
   * Liveness asks nobody: the time of its slowest answer in the same run is what the machine takes, to answer, and to
   * tell that a deadline has passed.
   */
  inTime(t: Test, live: Prober): void {
    const [ms, liveMs] = [this.slowest, live.slowest].map(Math.round) as [number, number]
    t.ok(ms < PROBE_LIMIT_MS + 2 * liveMs, `in under a second: ${ms} ms, of which liveness takes ${liveMs}`)
  }

  /**
   * No more failures than this. Where even liveness was slow, an answer may have failed because a check was not answered
   * in its time; what else it says still counts.
   */
  failedAtMost(t: Test, count: number, live: Prober, otherwise = (_: Answer) => false): void {
    const failed = this.answers.filter(({ status }) => status !== 200)
    const slow = live.slowest > SLOW_MS
    const counted = slow ? failed.filter((answer) => answer.status !== 503 || otherwise(answer)) : failed
    t.ok(counted.length <= count, `${count} failed at most; liveness took ${Math.round(live.slowest)} ms`, { failed })
  }

  count(status: number): number {
    return this.answers.filter((answer) => answer.status === status).length
  }
}

/** A prober on each of the three routes of the service at this address. */
export function probers(t: Test, url: string) {
  const on = (route: string) => new Prober(t, url + route)
  return { live: on('/health/live'), ready: on('/health/ready'), health: on('/health') }
}

/** What `/health/ready` says when it is not the database that failed. */
export function databasePassed({ body }: Answer): boolean {
  return (body['checks'] as { database?: string } | undefined)?.database === 'passed'
}

/** One request on a connection of its own. Status 0: no answer. */
export async function ask(url: string): Promise<Answer> {
  const started = performance.now()
  try {
    const response = await fetch(url, { headers: { connection: 'close' }, signal: AbortSignal.timeout(PATIENCE_MS) })
    const body = (await response.json()) as Record<string, unknown>
    return { status: response.status, ms: performance.now() - started, body }
  } catch {
    return { status: 0, ms: performance.now() - started, body: {} }
  }
}

/**
 * A TCP proxy in front of a server: the one address of several servers, and a network that swallows every byte in both
 * directions without telling anybody.
 */
export class TcpProxy {
  #sockets = new Set<Socket>()
  #connections: { dead: boolean; sockets: Socket[] }[] = []
  #swallows = false
  #slowMs = 0
  readonly #swallowed = new EventEmitter()
  readonly url: string
  #target: string

  private constructor(url: string, target: string) {
    this.url = url
    this.#target = target
  }

  static async start(t: Pick<Test, 'teardown'>, target: string): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await event(server, 'listening')
    const url = new URL(target)
    url.port = String((server.address() as AddressInfo).port)
    const proxy = new TcpProxy(url.href, target)
    server.on('connection', (client) => {
      const { hostname, port } = new URL(proxy.#target)
      proxy.#join(client, connect(Number(port), hostname))
    })
    t.teardown(() => {
      server.close()
      for (const socket of proxy.#sockets) socket.destroy()
    })
    return proxy
  }

  /** From now on the server's answers arrive so many milliseconds later. */
  slow(ms: number): void {
    this.#slowMs = ms
  }

  /** From now on nothing arrives, and nobody is told. */
  swallow(): void {
    this.#swallows = true
  }

  /** Waits until something was swallowed, then heals, and cuts every connection of before. */
  async cut(): Promise<void> {
    await event(this.#swallowed, 'data')
    this.heal()
    for (const socket of this.#sockets) socket.destroy()
  }

  /** New connections work again; those of before stay dead. */
  heal(): void {
    this.#swallows = false
  }

  /** The connections of before die in silence, all or those that were opened first; new ones work. */
  deaden(count = this.#connections.length): void {
    for (const connection of this.#connections.slice(0, count)) connection.dead = true
  }

  /** The connections that were opened first are cut, and both ends are told. */
  lose(count: number): void {
    for (const { sockets } of this.#connections.slice(0, count)) for (const socket of sockets) socket.destroy()
  }

  /** How many connections there have been. */
  get count(): number {
    return this.#connections.length
  }

  /** From now on new connections lead to another server. */
  lead(target: string): void {
    this.#target = target
  }

  #join(client: Socket, server: Socket): void {
    const connection = { dead: false, sockets: [client, server] }
    this.#connections.push(connection)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => this.#sockets.delete(from))
      from.on('data', (chunk) => {
        connection.dead ||= this.#swallows
        if (connection.dead) this.#swallowed.emit('data')
        else if (from === server && this.#slowMs > 0) setTimeout(() => to.write(chunk), this.#slowMs)
        else to.write(chunk)
      })
      from.on('end', () => {
        connection.dead ||= this.#swallows
        if (!connection.dead) to.end()
      })
    }
  }
}

/** A service with routes that keep the backends busy: those of routes.ts, which registers itself. */
export const ROUTES = { NODE_OPTIONS: `--import=${new URL('routes.ts', import.meta.url)}` }
