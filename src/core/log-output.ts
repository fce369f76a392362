import { writeSync } from 'node:fs'

/** Lines that wait for a reader, or for room, take no more memory than this: some seconds of a busy service. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024
/** A pipe holds 64 KiB: so often, 13 MB of log a second get through one that is full each time. */
const RETRY_MS = 5
/** Whoever reads the log has this long to take what is left when the process exits. */
const LAST_MS = 1_000
/** Standard error is told no more often than this. */
const SAY_EVERY_MS = 60_000

/**
 * Writes each line at once, so that a process that dies has written it. What cannot be written (the disk is full, the
 * terminal closed, the reader slow or gone) waits and is tried again, in its order and from the byte on where it
 * stopped. Beyond a bound lines are dropped and counted. Nothing here throws, and only `end()` waits.
 *
 * pino's own destination, sonic-boom, tries again inside of a write for as long as that fails, and no request is
 * answered meanwhile (sonic-boom issue 51).
 */
export class LogOutput {
  readonly #fd: number
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #retry: NodeJS.Timeout | undefined
  #triedAt = 0
  #saidAt = Number.NEGATIVE_INFINITY
  /** Lines that were dropped. */
  lost = 0

  /** `fd` does not block, if it is one that can (a pipe, a terminal). */
  constructor(fd: number) {
    this.#fd = fd
  }

  write(text: string): void {
    // Timers are late when the process is busy.
    const isDue = () => performance.now() > this.#triedAt + RETRY_MS
    if (this.#waiting.length > 0 && !(isDue() && this.#flush())) {
      this.#wait(Buffer.from(text))
      return
    }
    const written = this.#put(text)
    if (written < Buffer.byteLength(text)) this.#wait(Buffer.from(text).subarray(written))
  }

  /** Writes what waits, as far as its reader takes it in time. The process does nothing else meanwhile. */
  end(): void {
    const deadline = performance.now() + LAST_MS
    const never = new Int32Array(new SharedArrayBuffer(4))
    while (!this.#flush() && performance.now() < deadline) Atomics.wait(never, 0, 0, RETRY_MS)
  }

  #wait(line: Buffer): void {
    // What is left of a line is kept, however long that is.
    if (this.#waiting.length > 0 && this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.lost++
      this.#say('nobody reads it')
      return
    }
    this.#waiting.push(line)
    this.#waitingBytes += line.length
    this.#retry ??= setInterval(() => this.#flush(), RETRY_MS).unref()
  }

  /** Whether nothing waits any more. */
  #flush(): boolean {
    this.#triedAt = performance.now()
    for (const [i, line] of this.#waiting.entries()) {
      const written = this.#put(line)
      this.#waitingBytes -= written
      if (written < line.length) {
        this.#waiting[i] = line.subarray(written)
        // All at once: shift() moves every line that is left, and 100 000 short ones took 20 s.
        this.#waiting.splice(0, i)
        return false
      }
    }
    this.#waiting = []
    clearInterval(this.#retry)
    this.#retry = undefined
    return true
  }

  /** How many bytes of it were written. */
  #put(line: string | Buffer): number {
    try {
      return writeSync(this.#fd, line as string)
    } catch (err) {
      const { code, message } = err as NodeJS.ErrnoException
      if (code !== 'EAGAIN') this.#say(message)
      return 0
    }
  }

  #say(why: string): void {
    if (performance.now() < this.#saidAt + SAY_EVERY_MS) return
    this.#saidAt = performance.now()
    try {
      // Node makes of a pipe one that does not block when its stream is first asked for.
      writeSync(process.stderr.fd, `cannot write the log: ${why}\n`)
    } catch {
      // Nobody is left to tell.
    }
  }
}
