import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { deadlineSignal } from '../../core/deadline.ts'
import { BoundClient } from '../binding.ts'
import type { Connected, ServerOptions } from '../options.ts'
import { Probe } from '../probe.ts'

/** The server that last took writes is asked alone this long; then the others are asked too, since it may be silent. */
const HEAD_START_MS = 200

/**
 * A `pg.Client` for several servers, of which one takes writes: it connects to that one, whichever it is by now. It can
 * go when pg knows several hosts (node-postgres PR 3643) and cuts off the clients of a server that lost the role.
 * Clients whose server is no longer the one are cut off, idle or not, as soon as another one connects. Asking takes
 * `timeoutMs` at the most. When no server takes writes, connecting rejects with the error of the server that last did,
 * or was named first.
 */
export function primaryClient(servers: () => ServerOptions[], timeoutMs: number): typeof pg.Client {
  const clients = new Map<pg.Client, string>()
  /** The address of the server that last took writes. */
  let known: string | undefined
  let search: Promise<ServerOptions> | undefined

  async function find(): Promise<ServerOptions> {
    const all = servers().map((server) => ({ port: pg.defaults.port, ...server }) as ServerOptions)
    const first = all.find((server) => addressOf(server) === known) ?? (all[0] as ServerOptions)
    const found = new AbortController()
    const signal = AbortSignal.any([found.signal, deadlineSignal(timeoutMs)])
    const ask = async (server: ServerOptions) => {
      const probe = new Probe({ ...server, Client: BoundClient })
      await probe.check(signal).finally(() => probe.close())
      found.abort()
      return server
    }
    const last = ask(first)
    const turn = Promise.race([last.catch(() => {}), sleep(HEAD_START_MS, undefined, { signal, ref: false })])
    const others = all.filter((server) => server !== first)
    const asked = others.map(async (server) => {
      await turn
      signal.throwIfAborted()
      return ask(server)
    })
    return Promise.any([last, ...asked]).catch(({ errors }: AggregateError) => Promise.reject(errors[0]))
  }

  async function primary(): Promise<ServerOptions> {
    search ??= find().finally(() => {
      search = undefined
    })
    const server = await search
    known = addressOf(server)
    for (const [client, address] of clients) {
      if (address === known) continue
      client.connection.stream.destroy(
        Object.assign(new Error('Another database server takes the writes'), { code: 'ECONNRESET' }),
      )
    }
    return server
  }

  return class PrimaryClient extends BoundClient {
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
      const server = await Promise.race([primary(), abandoned])
      // The search may have begun with the settings of before: the server's want of TLS counts as much as this client's.
      const ssl = this.ssl || server.ssl
      Object.assign(this, { host: server.host, port: server.port, ssl })
      Object.assign(this.connection, { ssl })
      clients.set(this, addressOf(server))
      this.once('end', () => clients.delete(this))
      return super.connect()
    }
  }
}

function addressOf({ host, port }: ServerOptions): string {
  return `${host}:${port}`
}
