import { Socket } from 'node:net'
import pg from 'pg'

/**
 * A connection for the health check alone: a pool busy with slow queries is not a database that is down,
 * and a database that hangs is not hidden behind the pool's queue.
 */
export class Probe {
  readonly #options: pg.ClientConfig
  readonly #onLost: (err: Error) => void
  #connection: { client: pg.Client; socket: Socket } | undefined

  constructor(options: pg.ClientConfig, onLost: (err: Error) => void) {
    this.#options = options
    this.#onLost = onLost
  }

  /** Resolves when the database answers and takes writes. Rejects as soon as the signal aborts. */
  async check(signal: AbortSignal): Promise<void> {
    const lostConnection = () => this.#drop()
    signal.addEventListener('abort', lostConnection, { once: true })
    const reused = this.#connection !== undefined
    try {
      await this.#ask()
    } catch (err) {
      this.#drop()
      signal.throwIfAborted() // what the dropped connection says of itself is no news
      // A lost connection is not a lost database.
      if (!reused) throw err
      await this.#ask()
    } finally {
      signal.removeEventListener('abort', lostConnection)
    }
  }

  /** Ends the connection without waiting for an answer that a hung server would not give. */
  close(): void {
    this.#connection?.client.end().catch(() => {})
    this.#connection?.socket.unref()
    this.#connection = undefined
  }

  async #ask(): Promise<void> {
    const client = this.#connection?.client ?? (await this.#connect())
    // `on` on a standby, and on a primary that was told to take no writes.
    const { rows } = await client.query('show transaction_read_only')
    if (rows[0].transaction_read_only === 'on') {
      throw Object.assign(new Error('The database is read-only'), { code: '25006' })
    }
  }

  async #connect(): Promise<pg.Client> {
    const socket = new Socket()
    const client = new pg.Client({ ...this.#options, stream: () => socket })
    const connection = { client, socket }
    this.#connection = connection
    client.on('error', (err) => {
      if (this.#connection === connection) this.#connection = undefined
      this.#onLost(err)
    })
    await client.connect()
    return client
  }

  #drop(): void {
    this.#connection?.socket.destroy()
    this.#connection = undefined
  }
}
