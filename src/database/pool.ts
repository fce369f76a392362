import type { Socket } from 'node:net'
import pg from 'pg'
import { markBackend, reasonOf } from '../core/reasons.ts'

/** A timer that is this late means that the process stood still. */
const PAUSE_MS = 500
/** pg-pool's error for a caller that has waited for a connection to become free. */
const NONE_FREE = 'timeout exceeded when trying to connect'

type Connected = (err: Error | undefined, client: pg.PoolClient | undefined, done: (release?: unknown) => void) => void

interface PoolEvents {
  /** No connection could be opened. */
  onRefused?(err: unknown): void
  /** A caller has waited in vain. Every connection has been in use for `exhaustedMs`. */
  onExhausted?(err: unknown, exhaustedMs: number): void
  /** A caller has a connection, for which it has waited so long. */
  onLent?(ms: number): void
  /** Nobody waits any more. */
  onFree?(): void
  /** A connection was given back inside of a transaction. */
  onUnfinished?(): void
}

/**
 * pg-pool, with what it lacks: it lends no connection that is known to be useless, takes back one that is lost while it
 * is lent, and tells why a caller got none.
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
  /** Kysely takes the promise; pg-pool's own `query()` passes a callback. */
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
    // Each call gets one of the idle connections.
    for (let idle = this.idleCount; idle > 0; idle--) super.connect().then(close, () => {})
  }

  async #connect(asked = performance.now(), isFirst = true): Promise<pg.PoolClient> {
    try {
      const lent = super.connect()
      if (this.waitingCount > this.idleCount) this.#exhaustedAt ??= asked
      const client = await lent
      if (!this.#useless.has(client)) {
        this.events.onLent?.(performance.now() - asked)
        return this.#lend(client)
      }
      close(client)
    } catch (err) {
      if (!(isFirst && this.#hasPaused(err, asked))) {
        this.#tell(err)
        throw err
      }
    }
    return this.#connect(asked, false)
  }

  /** After a pause of the process pg-pool's timer runs before the pool sees a connection that became ready in it. */
  #hasPaused(err: unknown, asked: number): boolean {
    const { connectionTimeoutMillis = 0 } = this.options
    return reasonOf(err) === 'timeout' && performance.now() - asked > connectionTimeoutMillis + PAUSE_MS
  }

  #tell(err: unknown): void {
    markBackend(err as Error)
    if (reasonOf(err) === 'timeout') this.timeouts++
    if ((err as Error).message !== NONE_FREE) this.events.onRefused?.(err)
    else this.events.onExhausted?.(err, Math.round(performance.now() - (this.#exhaustedAt as number)))
  }

  /**
   * Takes a lost connection back at once, because a handler that never ends never gives it back. When the handler gives
   * it back later, nothing happens, because pg-pool throws for the second time. One that waits for an answer comes back
   * when it has all: pg tells of an error before the server has said whether it is still in a transaction.
   */
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
      client.off('drain', answered)
      free(true)
    }
    const answered = () => client.release()
    client.once('end', lost)
    client.release = (err) => {
      if (isLost) return
      client.off('drain', answered)
      if (!err && isWaiting(client)) return void client.once('drain', answered)
      client.off('end', lost)
      free(err || this.#isUnfinished(client) || this.#useless.has(client))
    }
    return client
  }

  /** In the transaction of another, the next user would see what that one may see, and would never commit. */
  #isUnfinished(client: pg.PoolClient): boolean {
    const isUnfinished = client.getTransactionStatus() !== 'I'
    if (isUnfinished) this.events.onUnfinished?.()
    return isUnfinished
  }
}

/** pg's `drain` follows when there is no statement without its answer. */
function isWaiting(client: pg.PoolClient): boolean {
  return !(client as unknown as { readyForQuery: boolean }).readyForQuery
}

function close(client: pg.PoolClient): void {
  client.release(true)
  end(client)
}

/** Closes the socket, because pg waits for the server to do so, and a silent one never does. */
function end(client: pg.PoolClient): void {
  ;(client.connection.stream as Socket).destroySoon()
}
