import type { Socket } from 'node:net'
import type pg from 'pg'
import { deadline } from '../core/deadline.ts'
import { reasonOf } from '../core/reasons.ts'
import type { ServicePool } from './pool.ts'
import { LATE_MS, type Report } from './probe.ts'

/** How often it looks at the waiting connections, while there are any. */
const LOOK_EVERY_MS = 500
/** An answer has this long to arrive after the database said that it is no longer at work on the statement. */
const ON_ITS_WAY_MS = 100
/** How fast a slow network takes a statement to the database: bytes per millisecond. A large one is late later. */
const SENT_PER_MS = 1_000

/**
 * A connection that waits for an answer. `since`: the statement, or the last byte of an answer. `bytes`: received by
 * then. `sentBefore`: bytes sent before the statement.
 */
interface Waiting {
  client: pg.PoolClient
  pid: number
  since: number
  bytes: number
  sentBefore: number
}

interface StatementsOptions {
  /** Asks the database. `judge` gets the answer. */
  check(): Promise<void>
  /** Bytes that the database has sent over other connections than the pool's. */
  bytesRead(): number
  /** A connection is dropped when it has waited this long, even if the database is at work for it. 0: never. */
  queryTimeoutMs: number
  /** The same while the database sends nothing at all. */
  silenceMs: number
}

/**
 * Finds the pool's connections that died in silence, which would wait until TCP gives up, a quarter of an hour. pg's
 * `query_timeout` tells one from a slow statement only by being longer than all of those, and leaves the connection in
 * use (node-postgres issue 3399). So this asks the database itself, over the probe's connection, whether it is at work
 * on the statements that are late.
 */
export class Statements {
  readonly #pool: ServicePool
  readonly #options: StatementsOptions
  readonly #waiting = new Map<pg.PoolClient, Waiting>()
  /** Bytes that each connection had received when the probe's died in silence. */
  readonly #doubted = new WeakMap<pg.PoolClient, number>()
  #timer: NodeJS.Timeout | undefined
  #bytes = 0
  #heardAt = 0
  #isSilent = false

  constructor(pool: ServicePool, options: StatementsOptions) {
    this.#pool = pool
    this.#options = options
    pool.on('connect', (client) => this.#watch(client))
  }

  /** Copies of those that are late, so that `judge` sees them as they were when the database was asked. */
  suspects(): Waiting[] {
    const now = performance.now()
    const isLate = ({ client, since, sentBefore }: Waiting) =>
      now - since >= LATE_MS + (bytesSent(client) - sentBefore) / SENT_PER_MS
    return [...this.#waiting.values()].filter(isLate).map((waiting) => ({ ...waiting }))
  }

  /**
   * Acts on what the database has said of the suspects. Behind a pooler it can say nothing of them. There all
   * connections are in doubt once the probe's has died in silence, each until it receives something. A probe's connection
   * that was closed says nothing of the others, because poolers close idle ones, and all when they leave.
   */
  async judge({ suspects, running, replaced, silent }: Report<Waiting>): Promise<void> {
    this.#isSilent = false
    if (silent) for (const client of this.#pool.clients) this.#doubted.set(client, bytesRead(client))
    const dead = suspects.filter(({ client, pid, bytes }) =>
      running ? !running.has(pid) : this.#doubted.get(client) === bytes,
    )
    if (replaced || dead.length > 0) this.#pool.renew()
    if (dead.length === 0) return
    await new Promise<void>((resolve) => deadline(ON_ITS_WAY_MS, resolve))
    for (const { client, bytes } of dead) {
      if (bytesRead(client) === bytes) cut(client, 'ECONNRESET', 'The connection died in silence')
    }
  }

  #watch(client: pg.PoolClient): void {
    const query = client.query as (...args: unknown[]) => unknown
    const watched = (...args: unknown[]) => {
      const sentBefore = bytesSent(client)
      const answer = query.apply(client, args)
      this.#started(client, sentBefore)
      return answer
    }
    client.query = watched as typeof client.query
    // pg's `drain`: every statement of this connection has its answer.
    client.on('drain', () => this.#waiting.delete(client))
    client.once('end', () => this.#waiting.delete(client))
  }

  #started(client: pg.PoolClient, sentBefore: number): void {
    if (this.#waiting.has(client) || !this.#pool.clients.has(client)) return
    const since = performance.now()
    const { processID: pid } = client as unknown as { processID: number }
    this.#waiting.set(client, { client, pid, since, bytes: bytesRead(client), sentBefore })
    if (this.#timer) return
    this.#heardAt = since
    this.#arm()
  }

  /** Sets the time of the next look. `setImmediate`: an answer that arrived in a pause of the process counts. */
  #arm(): void {
    const now = performance.now()
    const limits = this.#limits()
    const due = [...this.#waiting.values()].flatMap(({ since }) => limits.map((ms) => since + ms - now))
    const delay = Math.max(1, Math.min(LOOK_EVERY_MS, ...due))
    this.#timer = setTimeout(() => setImmediate(() => this.#look()), delay).unref()
  }

  #look(): void {
    this.#timer = undefined
    if (this.#waiting.size === 0) return
    this.#listen()
    const now = performance.now()
    for (const ms of this.#limits()) {
      for (const { client, since } of this.#waiting.values()) {
        if (now - since < ms) continue
        cut(client, 'ETIMEDOUT', `no answer within ${ms} ms`)
        this.#waiting.delete(client)
      }
    }
    if (this.#waiting.size === 0) return
    this.#arm()
    if (this.suspects().length === 0) return
    this.#options.check().catch((err) => {
      // A refusal, such as one of a balancer without a server, is not silence.
      this.#isSilent = ['timeout', 'unreachable'].includes(reasonOf(err))
    })
  }

  /** The limits that hold now, in milliseconds. */
  #limits(): number[] {
    const { queryTimeoutMs, silenceMs } = this.#options
    const isSilent = this.#isSilent && performance.now() - this.#heardAt >= silenceMs
    return [...(queryTimeoutMs > 0 ? [queryTimeoutMs] : []), ...(isSilent ? [silenceMs] : [])]
  }

  /** Notes which connections have received something since the last look. */
  #listen(): void {
    const now = performance.now()
    for (const waiting of this.#waiting.values()) {
      const bytes = bytesRead(waiting.client)
      if (bytes !== waiting.bytes) Object.assign(waiting, { since: now, bytes })
    }
    const bytes = this.#pool.clients
      .values()
      .reduce((sum, client) => sum + bytesRead(client), this.#options.bytesRead())
    if (bytes !== this.#bytes) this.#heardAt = now
    this.#bytes = bytes
  }
}

function bytesRead({ connection }: pg.PoolClient): number {
  return (connection.stream as Socket).bytesRead
}

function bytesSent({ connection }: pg.PoolClient): number {
  return (connection.stream as Socket).bytesWritten
}

function cut({ connection }: pg.PoolClient, code: string, message: string): void {
  connection.stream.destroy(Object.assign(new Error(message), { code }))
}
