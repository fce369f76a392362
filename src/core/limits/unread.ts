import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** A request waits this long for clients to read, before one that does not is cut off for it. */
const PATIENCE_MS = 2_000
const RETRY_MS = 20

type Hit = 'timedOut' | 'overSize'

/**
 * Bounds the answers that clients have not read: in time, and in size, because many can come at once. What the system
 * has not taken of an answer is in this process's memory.
 */
export class Unread {
  /** Oldest first, each with its bytes when it was written. */
  readonly #answers = new Map<ServerResponse, number>()
  #bytes = 0
  /** Cut off, and not closed yet: at the end of this turn of the event loop their memory is free. */
  readonly #closing = new Set<Socket>()
  #timeoutMs = 0
  #limit = Number.POSITIVE_INFINITY
  #hit!: (kind: Hit) => void

  guard(timeoutMs: number, limitBytes: number, hit: (kind: Hit) => void): void {
    this.#timeoutMs = timeoutMs
    this.#limit = limitBytes
    this.#hit = hit
  }

  /** Calls back once there is room for another answer, for which it cuts off the oldest if it must. */
  whenRoom(next: () => void): void {
    if (this.#hasRoom()) {
      next()
      return
    }
    const late = performance.now() + PATIENCE_MS
    const retry = setInterval(() => {
      if (this.#hasRoom()) {
        clearInterval(retry)
        next()
      } else if (performance.now() > late && this.#exceeds(this.#limit)) this.#cutOldest()
    }, RETRY_MS)
  }

  /** To be called when not all of an answer was taken. */
  watch(answer: ServerResponse): void {
    // A write to an answer that is over is not taken either, and no event would settle it.
    if (this.#answers.has(answer) || answer.destroyed) return
    const { socket } = answer.req
    // Node starts it anew while bytes go out. Pipelined answers have the socket one after the other.
    const start = () => socket.setTimeout(this.#timeoutMs)
    const stalled = () => this.#cut(answer, 'timedOut')
    const settle = () => {
      this.#forget(answer)
      answer.off('timeout', stalled).off('drain', settle).off('close', settle)
      socket.off('close', settle)
      if (!answer.writableEnded) socket.setTimeout(0)
    }
    this.#answers.set(answer, answer.writableLength)
    this.#bytes += answer.writableLength
    answer.on('timeout', stalled).on('drain', settle).on('close', settle)
    // A pipelined answer that waits for its turn has no `close`.
    socket.on('close', settle)
    if (answer.socket) start()
    else answer.once('socket', start)
    // Requests that were under way when the limit was reached did not wait.
    if (this.#exceeds(2 * this.#limit)) this.#cutOldest()
  }

  #hasRoom(): boolean {
    return this.#closing.size === 0 && !this.#exceeds(this.#limit)
  }

  /** One answer alone never does: it may be larger than the limit while its client reads it. */
  #exceeds(bytes: number): boolean {
    return this.#bytes > bytes && this.#answers.size > 1
  }

  #forget(answer: ServerResponse): void {
    this.#bytes -= this.#answers.get(answer) ?? 0
    this.#answers.delete(answer)
  }

  #cutOldest(): void {
    const [oldest] = this.#answers.keys()
    this.#cut(oldest as ServerResponse, 'overSize')
  }

  #cut(answer: ServerResponse, kind: Hit): void {
    const { socket } = answer.req
    this.#forget(answer)
    this.#closing.add(socket)
    socket.once('close', () => this.#closing.delete(socket)).destroy()
    this.#hit(kind)
  }
}
