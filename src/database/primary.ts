import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { Probe } from './probe.ts'

/** How long the server that last took writes is asked alone: one that says nothing must not be waited for. */
const HEAD_START_MS = 200

export interface Host {
  host?: string | undefined
  port?: number | undefined
}

type Connected = ((err: Error) => void) | ((err: null, client: pg.Client) => void)

/**
 * A `pg.Client` for several servers, of which one takes writes: it connects to that one, whichever it is by now.
 * Clients whose server is no longer the one are cut off, idle or not, as soon as another one connects.
 * Asking takes `timeoutMs` at the most. When no server takes writes, connecting rejects with the error of the server
 * that last did, or was named first.
 */
export function primaryClient(options: pg.ClientConfig, hosts: Host[], timeoutMs: number): typeof pg.Client {
  const clients = new Map<pg.Client, Host>()
  let order = hosts
  let search: Promise<Host> | undefined

  async function ask(host: Host, signal: AbortSignal): Promise<Host> {
    const probe = new Probe({ ...options, ...host }, () => {})
    try {
      await probe.check(signal)
      return host
    } finally {
      probe.close()
    }
  }

  async function find(): Promise<Host> {
    const [first, ...others] = order as [Host, ...Host[]]
    const found = new AbortController()
    const signal = AbortSignal.any([found.signal, AbortSignal.timeout(timeoutMs)])
    const last = ask(first, signal)
    const turn = Promise.race([
      last.then(
        () => found.abort(),
        () => {},
      ),
      sleep(HEAD_START_MS, undefined, { signal, ref: false }),
    ])
    const asked = others.map(async (host) => {
      await turn
      signal.throwIfAborted()
      return ask(host, signal)
    })
    return Promise.any([last, ...asked])
      .catch(({ errors }: AggregateError) => Promise.reject(errors[0]))
      .finally(() => found.abort())
  }

  async function primary(): Promise<Host> {
    search ??= find().finally(() => {
      search = undefined
    })
    const host = await search
    order = [host, ...order.filter((other) => other !== host)]
    for (const [client, where] of clients) {
      if (where === host) continue
      client.connection.stream.destroy(
        Object.assign(new Error('Another database server takes the writes'), { code: 'ECONNRESET' }),
      )
    }
    return host
  }

  return class PrimaryClient extends pg.Client {
    override connect(): Promise<pg.Client>
    override connect(callback: Connected): void
    override connect(callback?: Connected): Promise<pg.Client> | undefined {
      const opened = this.#open()
      if (!callback) return opened
      const done = callback as (err: Error | null, client?: pg.Client) => void
      void opened.then((client) => done(null, client), done)
      return undefined
    }

    async #open(): Promise<pg.Client> {
      // Who gives up destroys the stream: pg-pool after its timeout, the health check after its own.
      const abandoned = once(this.connection.stream, 'close').then(() => {
        throw new Error('Connection terminated')
      })
      const host = await Promise.race([primary(), abandoned])
      Object.assign(this, host)
      clients.set(this, host)
      this.once('end', () => clients.delete(this))
      return super.connect()
    }
  }
}
