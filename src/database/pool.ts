import type { Socket } from 'node:net'
import pg from 'pg'
import { reasonOf } from '../core/reasons.ts'

/** A timer that is so late tells of a process that stood still. */
const PAUSE_MS = 500
/** pg-pool's error for a caller that has waited for a connection to become free. */
const NONE_FREE = 'timeout exceeded when trying to connect'

type Connected = (err: Error | undefined, client: pg.PoolClient | undefined, done: (release?: unknown) => void) => void

interface PoolEvents {
  /** No connection could be opened. */
  onRefused?(err: unknown): void
  /** A caller has waited in vain: for so many milliseconds every connection has been in use. */
  onExhausted?(err: unknown, exhaustedMs: number): void
  /** Nobody waits any more. */
  onFree?(): void
}

/**
 * pg's pool, which lends no connection that is known to be useless, takes back one that is lost while it is lent, and
 * tells why a caller got none: pg-pool does nothing of it.
 */
export class ServicePool extends pg.Pool {
  /** Callers that got no connection in time. */
  timeouts = 0
  /** The open connections. */
  readonly clients = new Set<pg.PoolClient>()
  events: PoolEvents = {}
  readonly #useless = new WeakSet<pg.PoolClient>()
  #exhaustedAt: number | undefined

  constructor(options: pg.PoolConfig) {
    super(options)
    this.on('connect', (client) => {
      this.clients.add(client)
      client.once('end', () => this.clients.delete(client))
    })
  }

  override connect(): Promise<pg.PoolClient>
  override connect(callback: Connected): void
  /** Kysely takes the promise, and `query()` of the pool itself the callback. */
  override connect(callback?: Connected): Promise<pg.PoolClient> | undefined {
    const client = this.#connect()
    if (!callback) return client
    client.then(
      (client) => callback(undefined, client, client.release as (release?: unknown) => void),
      (err) => callback(err, undefined, () => {}),
    )
    return undefined
  }

  /** Closes this connection when it is given back. */
  discard(client: pg.PoolClient): void {
    this.#useless.add(client)
  }

  /** Closes every connection: idle ones now, those in use when they are given back. */
  renew(): void {
    for (const client of this.clients) this.discard(client)
    // Each of these gets an idle one.
    for (let idle = this.idleCount; idle > 0; idle--) super.connect().then(close, () => {})
  }

  async #connect(isFirst = true): Promise<pg.PoolClient> {
    const asked = performance.now()
    try {
      const lent = super.connect()
      if (this.waitingCount > this.idleCount) this.#exhaustedAt ??= asked
      const client = await lent
      if (!this.#useless.has(client)) return this.#lend(client)
      close(client)
    } catch (err) {
      if (!(isFirst && this.#hasPaused(err, asked))) {
        this.#tell(err)
        throw err
      }
    }
    return this.#connect(false)
  }

  /** pg-pool's timers decide before a connection that has become ready in a pause of the process is seen. */
  #hasPaused(err: unknown, asked: number): boolean {
    const { connectionTimeoutMillis = 0 } = this.options
    return reasonOf(err) === 'timeout' && performance.now() - asked > connectionTimeoutMillis + PAUSE_MS
  }

  #tell(err: unknown): void {
    if (reasonOf(err) === 'timeout') this.timeouts++
    if ((err as Error).message !== NONE_FREE) this.events.onRefused?.(err)
    else this.events.onExhausted?.(err, Math.round(performance.now() - (this.#exhaustedAt as number)))
  }

  /** A handler may never give back what it has lost, or throw when it does so afterwards: pg-pool refuses it twice. */
  #lend(client: pg.PoolClient): pg.PoolClient {
    const giveBack = client.release
    const free = (useless?: boolean | Error) => {
      giveBack(useless)
      if (useless) end(client)
      if (this.waitingCount > 0) return
      this.#exhaustedAt = undefined
      this.events.onFree?.()
    }
    let isLost = false
    const lost = () => {
      isLost = true
      free(true)
    }
    client.once('end', lost)
    client.release = (err) => {
      client.off('end', lost)
      if (!isLost) free(err || this.#useless.has(client))
    }
    return client
  }
}

function close(client: pg.PoolClient): void {
  client.release(true)
  end(client)
}

/** pg waits for the server to close the connection, and a silent one never does. */
function end(client: pg.PoolClient): void {
  ;(client.connection.stream as Socket).destroySoon()
}
