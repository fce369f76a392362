import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { deadlineSignal } from '../../core/deadline.ts'
import { Probe } from '../probe.ts'

/** The server that last took writes is asked alone this long; then the others are asked too, since it may be silent. */
const HEAD_START_MS = 200

type Host = Pick<pg.ClientConfig, 'host' | 'port'>
type Connected = ((err: Error) => void) | ((err: null, client: pg.Client) => void)

/**
 * A `pg.Client` for several servers, of which one takes writes: it connects to that one, whichever it is by now. It can
 * go when pg knows several hosts (node-postgres PR 3643) and cuts off the clients of a server that lost the role.
 * Clients whose server is no longer the one are cut off, idle or not, as soon as another one connects. Asking takes
 * `timeoutMs` at the most. When no server takes writes, connecting rejects with the error of the server that last did,
 * or was named first.
 */
export function primaryClient(options: pg.ClientConfig, hosts: Host[], timeoutMs: number): typeof pg.Client {
  const clients = new Map<pg.Client, Host>()
  let order = hosts
  let search: Promise<Host> | undefined

  async function find(): Promise<Host> {
    const [first, ...others] = order as [Host, ...Host[]]
    const found = new AbortController()
    const signal = AbortSignal.any([found.signal, deadlineSignal(timeoutMs)])
    const ask = async (host: Host) => {
      const probe = new Probe({ ...options, ...host })
      await probe.check(signal).finally(() => probe.close())
      found.abort()
      return host
    }
    const last = ask(first)
    const turn = Promise.race([last.catch(() => {}), sleep(HEAD_START_MS, undefined, { signal, ref: false })])
    const asked = others.map(async (host) => {
      await turn
      signal.throwIfAborted()
      return ask(host)
    })
    return Promise.any([last, ...asked]).catch(({ errors }: AggregateError) => Promise.reject(errors[0]))
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
    override connect(callback?: Connected): Promise<pg.Client> {
      const opened = this.#open()
      const done = callback as ((err: Error | null, client?: pg.Client) => void) | undefined
      if (done) opened.then((client) => done(null, client), done)
      return opened
    }

    async #open(): Promise<pg.Client> {
      // pg-pool and the health check destroy the stream when they give up, each after its own timeout.
      const abandoned = once(this.connection.stream, 'close').then(() => {
        throw new Error('Connection terminated')
      })
      const host = await Promise.race([primary(), abandoned])
      Object.assign(this, { host: host.host, port: host.port })
      clients.set(this, host)
      this.once('end', () => clients.delete(this))
      return super.connect()
    }
  }
}
