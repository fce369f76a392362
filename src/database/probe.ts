import { Socket } from 'node:net'
import pg from 'pg'
import type { ConnectionOptions } from './options.ts'

interface Connection {
  client: pg.Client
  socket: Socket
  opened: Promise<unknown>
}

/**
 * A connection for the health check alone: a pool busy with slow queries is not a database that is down,
 * and a database that hangs is not hidden behind the pool's queue.
 */
export class Probe {
  readonly #options: ConnectionOptions
  readonly #onLost: () => void
  #connection: Connection | undefined
  #flight: Promise<void> | undefined

  constructor(options: ConnectionOptions, onLost: () => void) {
    this.#options = options
    this.#onLost = onLost
  }

  /**
   * Resolves when the database answers and takes writes; rejects when the signal aborts. Concurrent callers share it.
   */
  check(signal: AbortSignal): Promise<void> {
    this.#flight ??= this.#check(signal).finally(() => {
      this.#flight = undefined
    })
    return this.#flight
  }

  async #check(signal: AbortSignal): Promise<void> {
    const open = this.#connection
    try {
      await this.#ask(open ?? this.#connect(), signal)
    } catch (err) {
      signal.throwIfAborted() // the error of a connection that this dropped says nothing new
      // A lost connection is not a lost database, and a new one may lead to another server.
      if (!open) throw err
      await this.#ask(this.#connect(), signal)
    }
  }

  /** Ends the connection without waiting for an answer that a hung server would not give. */
  close(): void {
    this.#connection?.client.end()
    this.#connection?.socket.unref()
    this.#connection = undefined
  }

  async #ask({ client, socket, opened }: Connection, signal: AbortSignal): Promise<void> {
    const drop = () => {
      this.#connection = undefined
      socket.destroy()
    }
    signal.addEventListener('abort', drop, { once: true })
    try {
      await opened
      // `on` on a standby, and on a primary that was told to take no writes.
      const { rows } = await client.query('show transaction_read_only')
      if (rows[0].transaction_read_only === 'on') {
        throw Object.assign(new Error('The database is read-only'), { code: '25006' })
      }
    } catch (err) {
      drop()
      throw err
    } finally {
      signal.removeEventListener('abort', drop)
    }
  }

  #connect(): Connection {
    const socket = new Socket()
    const { Client = pg.Client, ...options } = this.#options
    const client = new Client({ ...options, stream: () => socket })
    const connection = { client, socket, opened: client.connect() }
    this.#connection = connection
    client.on('error', () => {
      if (this.#connection !== connection) return
      this.#connection = undefined
      this.#onLost()
    })
    return connection
  }
}
