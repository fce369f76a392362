import { EventEmitter, once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A test, or whatever else ends. */
export interface Ends {
  teardown(end: () => unknown): void
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
  #heldText: string | undefined
  readonly #held: (() => void)[] = []
  readonly url: string
  #target: string

  private constructor(url: string, target: string) {
    this.url = url
    this.#target = target
  }

  static async start(t: Ends, target: string): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
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

  /** The next request from this text on, and those behind it, wait until they are released. */
  hold(text: string): void {
    this.#heldText = text
  }

  /** Whether a request waits. */
  get holds(): boolean {
    return this.#held.length > 0
  }

  release(): void {
    this.#heldText = undefined
    for (const send of this.#held.splice(0)) send()
  }

  #isHeld(chunk: string | Buffer): boolean {
    return this.#heldText !== undefined && (this.#held.length > 0 || chunk.includes(this.#heldText))
  }

  /** From now on nothing arrives, and nobody is told. */
  swallow(): void {
    this.#swallows = true
  }

  /** Waits until something was swallowed, then heals, and cuts every connection of before. */
  async cut(): Promise<void> {
    await once(this.#swallowed, 'data')
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
      from.on('data', (chunk: Buffer) => {
        connection.dead ||= this.#swallows
        if (connection.dead) this.#swallowed.emit('data')
        else if (from === client && this.#isHeld(chunk)) {
          const start = this.#held.length > 0 ? 0 : chunk.indexOf(this.#heldText as string)
          to.write(chunk.subarray(0, start))
          this.#held.push(() => to.write(chunk.subarray(start)))
        } else if (from === server && this.#slowMs > 0) setTimeout(() => to.write(chunk), this.#slowMs)
        else to.write(chunk)
      })
      from.on('end', () => {
        connection.dead ||= this.#swallows
        if (!connection.dead) to.end()
      })
    }
  }
}
