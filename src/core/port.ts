import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, createServer, Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { UnderWay } from './under-way.ts'

/** An idle connection has this long to bring one more request, once the port is closed. */
const LAST_REQUEST_MS = 1_000
const SWEEP_MS = 50
/** `localhost` names an address of IPv6 also where the machine has none. */
const ABSENT = ['EADDRNOTAVAIL', 'EAFNOSUPPORT']
/** Of a name that is none, as `HOST` is where conda sets it for its compilers, or of an address of another machine. */
const NO_ADDRESS = ['ENOTFOUND', 'EAI_AGAIN', 'EINVAL', ...ABSENT]

/** The port of the service, and what is under way on it. */
class Port {
  readonly #app: FastifyInstance
  /** One serves; the others hand their connections to it. */
  readonly #servers: Server[]
  readonly #unanswered = new UnderWay<ServerResponse>()
  /** Their request was answered before the rest of its body came, or will come. */
  readonly #unread = new Set<Socket>()

  constructor(app: FastifyInstance) {
    this.#app = app
    this.#servers = [app.server]
    app.server.on('request', (request, response) => {
      const answered = this.#unanswered.add(response)
      response.once('close', () => {
        answered()
        if (!request.complete && !request.destroyed) this.#watchRest(request)
      })
    })
  }

  /** Requests whose answer has not left the process. */
  get unanswered(): number {
    return this.#unanswered.size
  }

  /**
   * Opens it, for `localhost` on each of its addresses. Fastify would make a server for the second one that nobody can
   * reach (fastify issue 7043): here its connections are the first one's, with all limits and with the drain. A kernel
   * without IPv6 opens `::` for IPv4; where IPv6 is switched off only, `::` serves IPv4 anyway. `name` is what the log
   * says that listens.
   */
  async open(host: string, port: number, name = 'Server'): Promise<void> {
    const { log, server } = this.#app
    const found = host === 'localhost' ? await lookup(host, { all: true }) : [{ address: host }]
    const [first, ...others] = found.map(({ address }) => address)
    const listenTextResolver = (address: string) => `${name} listening at ${address}`
    await this.#app.listen({ host: first as string, port, listenTextResolver }).catch((err) => {
      const next = host === '::' ? '0.0.0.0' : others.shift()
      if (!ABSENT.includes(err.code) || !next) throw named(err)
      return this.#app.listen({ host: next, port, listenTextResolver })
    })
    for (const address of others) {
      const other = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => server.emit('connection', socket))
      const taken = (server.address() as AddressInfo).port
      try {
        await once(other.listen({ host: address, port: taken }), 'listening')
      } catch (err) {
        if (ABSENT.includes((err as NodeJS.ErrnoException).code as string)) continue
        throw err
      }
      this.#servers.push(other)
      log.info(`${name} listening at http://${address.includes(':') ? `[${address}]` : address}:${taken}`)
    }
  }

  /**
   * No new connections; each open one gets one more answer, with `connection: close`, for which an idle one is kept
   * `lastRequestMs`. Resolves when all are gone.
   * http.Server's own close() would cut idle keep-alive connections at once, with requests already on their way.
   */
  async drain(lastRequestMs = LAST_REQUEST_MS): Promise<void> {
    const { server } = this.#app
    const closed = Promise.all(this.#servers.map((each) => once(each, 'close')))
    // Half-sent headers are no request yet, and cannot delay it.
    server.headersTimeout = LAST_REQUEST_MS
    // Of what a connection pipelines the last answer closes it.
    const last = new WeakMap<Socket, ServerResponse>()
    const close = (response: ServerResponse) => {
      const before = last.get(response.req.socket)
      if (before) before.shouldKeepAlive = true
      last.set(response.req.socket, response)
      response.shouldKeepAlive = false
    }
    // Else a client sends its next request on a connection that is about to be closed.
    for (const response of this.#unanswered) close(response)
    server.prependListener('request', (_request, response) => close(response))
    for (const each of this.#servers) Server.prototype.close.call(each)
    await Promise.race([closed, sleep(lastRequestMs)])
    const sweep = setInterval(() => this.#sweep(), SWEEP_MS)
    await closed
    clearInterval(sweep)
  }

  #watchRest(request: IncomingMessage): void {
    const { socket } = request
    const forget = () => {
      this.#unread.delete(socket)
      socket.off('close', forget)
      request.off('close', forget)
    }
    this.#unread.add(socket)
    socket.on('close', forget)
    request.on('close', forget)
  }

  #sweep(): void {
    for (const socket of this.#unread) socket.destroy()
    // closeIdleConnections() takes a connection for idle whose answer is written, and not read by its client yet.
    for (const { writableEnded } of this.#unanswered) if (writableEnded) return
    this.#app.server.closeIdleConnections()
  }
}

export type { Port }

/** Before it opens: to know each request from its first byte on. */
export function watchPort(app: FastifyInstance): Port {
  return new Port(app)
}

/** The same error, which names the setting. */
function named(err: NodeJS.ErrnoException): Error {
  if (NO_ADDRESS.includes(err.code as string)) err.message += ' (HOST is no address of this machine)'
  return err
}
