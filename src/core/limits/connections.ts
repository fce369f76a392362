import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** Connections above the limit, open for as long as it takes to answer a probe, or 503. */
export const SPARE_CONNECTIONS = 16

/** The first request of a new connection has this long to come. */
const GRACE_MS = 500

type Hit = 'closedIdle' | 'refused' | 'dropped'

/**
 * Bounds the open connections. At the limit a new one takes the place of that which is idle for longest, so that idle
 * ones never keep a probe out. Where all are busy, or new, a few more are let in, and of those only probes are served.
 */
export class Connections {
  /** How many were closed at once, because all others were busy, and those above the limit too. */
  dropped = 0
  /** By when each was last used: opened, or answered. */
  readonly #open = new Map<Socket, number>()
  readonly #late = new WeakSet<Socket>()
  #limit = Number.POSITIVE_INFINITY
  #hit!: (kind: Hit) => void

  guard(server: Server, limit: number, hit: (kind: Hit) => void): void {
    this.#limit = limit
    this.#hit = hit
    server.on('connection', (socket) => this.#admit(socket, server.keepAliveTimeout))
    // Node does not take a connection for idle that waits for its first request.
    const { closeIdleConnections } = server
    server.closeIdleConnections = () => {
      closeIdleConnections.call(server)
      for (const socket of this.#open.keys()) if (socket.bytesRead === 0) socket.destroy()
    }
  }

  /** It is the turn of an answer. Node ends the time between two requests itself, not that of a pipelined answer before. */
  began(socket: Socket): void {
    if (socket.timeout) socket.setTimeout(0)
  }

  ended(socket: Socket): void {
    if (!socket.destroyed) this.#open.set(socket, performance.now())
  }

  /** Whether it came when all others were busy, and still is one too many. */
  isLate(socket: Socket): boolean {
    return this.#open.size > this.#limit && this.#late.has(socket)
  }

  /** To be called for a request of a late connection that is not served. */
  refused(): void {
    this.#hit('refused')
  }

  #admit(socket: Socket, idleMs: number): void {
    // More than one, where connections that came late have become idle: else this one would take a spare place.
    let full = this.#open.size >= this.#limit
    while (full && this.#closeIdlest(GRACE_MS)) full = this.#open.size >= this.#limit
    if (full) {
      if (this.#open.size >= this.#limit + SPARE_CONNECTIONS && !this.#closeIdlest(0)) {
        socket.destroy()
        this.dropped++
        this.#hit('dropped')
        return
      }
      this.#late.add(socket)
    }
    this.#open.set(socket, performance.now())
    // It is idle until its first request.
    socket.setTimeout(idleMs)
    socket.once('close', () => this.#open.delete(socket))
  }

  /** Whether there was one that has been idle for so long. */
  #closeIdlest(forMs: number): boolean {
    let idlest: Socket | undefined
    let least = performance.now() - forMs
    for (const [socket, used] of this.#open) {
      // A timer runs for one that is idle, or that has an unread answer.
      const idle = socket.timeout && socket.writableLength === 0
      if (!idle || used > least) continue
      idlest = socket
      least = used
    }
    if (!idlest) return false
    idlest.destroy()
    // Its `close` comes later: until then it must neither count nor be chosen again.
    this.#open.delete(idlest)
    this.#hit('closedIdle')
    return true
  }
}
