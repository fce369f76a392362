import { Socket } from 'node:net'
import pg from 'pg'
import { inBackground } from '../core/background.ts'
import { deadline } from '../core/deadline.ts'
import { reasonOf } from '../core/reasons.ts'
import type { ConnectionOptions } from './options.ts'

/** An answer that takes this much longer than usual is late. Milliseconds; a fraction of what a prober waits. */
export const LATE_MS = 200

interface Connection {
  client: pg.Client
  socket: Socket
  opened: Promise<unknown>
  isOpen: boolean
  /** When it was opened. */
  since: number
  /** Bytes that it had received when it was last asked. */
  bytes: number
  /** How long its last answer took. */
  answerMs: number
  onError(): void
}

/** The database's answer to a check, with what it said of the late statements. */
export interface Report<S> {
  suspects: S[]
  /** Process numbers of the suspects that are at work. Undefined behind a pooler, whose process numbers are its own. */
  running: Set<number> | undefined
  /** Another connection than before answered, because the one before was lost, silent or read-only. */
  replaced: boolean
  /** The one before died in silence. */
  silent: boolean
}

export interface ProbeOptions<S> {
  /** A connection is replaced after this. */
  maxLifetimeMs?: number
  /** Late statements. The check asks the database whether it is at work on them. */
  suspects?(): S[]
  onWell?(report: Report<S>): void
  onLost?(): void
}

/**
 * A connection for the health check alone: a pool busy with slow queries is not a database that is down,
 * and a database that hangs is not hidden behind the pool's queue.
 */
export class Probe<S extends { pid: number } = never> {
  readonly #connection: ConnectionOptions
  readonly #options: ProbeOptions<S>
  /** The connection that answered last, and those that are asked in its place. */
  readonly #open = new Set<Connection>()
  #last: Connection | undefined
  /** The connection that was asked in vain. It stays open until another one answers: did it die in silence? */
  #witness: Connection | undefined
  #isLost = false
  #isSuspect = false
  #flight: Promise<void> | undefined
  #closedBytes = 0

  constructor(connection: ConnectionOptions, options: ProbeOptions<S> = {}) {
    this.#connection = connection
    this.#options = options
  }

  /** Bytes that all connections of the probe have received, closed ones too. */
  get bytesRead(): number {
    return this.#open.values().reduce((sum, { socket }) => sum + socket.bytesRead, this.#closedBytes)
  }

  /**
   * Resolves when the database answers and takes writes; rejects when the signal aborts. Concurrent callers share it.
   */
  check(signal: AbortSignal): Promise<void> {
    this.#flight ??= inBackground(() => this.#check(signal)).finally(() => {
      this.#flight = undefined
    })
    return this.#flight
  }

  /** From now on a new connection has to answer, because the open one proves nothing any more. */
  suspect(): void {
    this.#isSuspect = true
  }

  /** Ends the connections without waiting for an answer that a hung server would not give. */
  close(): void {
    for (const { client, socket } of this.#open) {
      client.end()
      socket.unref()
    }
    this.#open.clear()
  }

  async #check(signal: AbortSignal): Promise<void> {
    const before = this.#last
    const isOld = this.#isSuspect || this.#isAged(before)
    try {
      const { connection, ...answer } = await (isOld ? this.#renewed(before, signal) : this.#first(before, signal))
      const replaced = this.#isLost || (connection !== before && before !== undefined && !isOld)
      const witness = this.#witness ?? before
      this.#witness = undefined
      // What failed is dropped by now.
      const silent = replaced && this.#open.has(witness as Connection) && witness?.socket.bytesRead === witness?.bytes
      this.#keep(connection)
      this.#options.onWell?.({ ...answer, replaced, silent })
    } catch (err) {
      if (before) this.#isLost = true
      if (signal.aborted) this.#witness ??= before
      this.#keep(undefined)
      signal.throwIfAborted() // the error of a connection that this dropped says nothing new
      throw err
    }
  }

  #isAged(connection: Connection | undefined): boolean {
    const { maxLifetimeMs = 0 } = this.#options
    return connection !== undefined && maxLifetimeMs > 0 && performance.now() - connection.since > maxLifetimeMs
  }

  /** Drops all connections but this one, and the witness. */
  #keep(connection: Connection | undefined): void {
    for (const other of this.#open) if (other !== connection && other !== this.#witness) this.#drop(other)
    this.#last = connection
    if (!connection) return
    this.#isLost = false
    this.#isSuspect = false
  }

  /** The answer of a new connection, or of the one before if the server has no room for another. */
  async #renewed(before: Connection | undefined, signal: AbortSignal) {
    try {
      return await this.#ask(this.#connect(), signal)
    } catch (err) {
      if (!before || reasonOf(err) !== 'limit') throw err
      return this.#ask(before, signal)
    }
  }

  /**
   * The first answer. It asks over the open connection, and over another one as soon as that fails or is late: a lost
   * connection is not a lost database, and a new one may lead to another server. Late is more than the last answer
   * took, so that a server that is always slow, or far, does not get one more connection for each check.
   */
  async #first(before: Connection | undefined, signal: AbortSignal) {
    if (!before) return this.#ask(this.#connect(), signal)
    const answer = this.#ask(before, signal)
    const late = Promise.withResolvers<undefined>()
    const timer = deadline(before.answerMs + LATE_MS, () => late.resolve(undefined))
    const inTime = await Promise.race([answer.catch(() => undefined), late.promise])
    clearTimeout(timer)
    if (inTime) return inTime
    signal.throwIfAborted()
    const other = this.#ask(this.#connect(), signal)
    return Promise.any([answer, other]).catch(({ errors }: AggregateError) => Promise.reject(errors[1]))
  }

  #ask(connection: Connection, signal: AbortSignal) {
    const aborted = Promise.withResolvers<never>()
    const abort = () => aborted.reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    const answer = Promise.race([this.#answer(connection), aborted.promise])
    return answer
      .catch((err) => {
        if (!signal.aborted) this.#drop(connection)
        throw err
      })
      .finally(() => signal.removeEventListener('abort', abort))
  }

  async #answer(connection: Connection) {
    const { client, opened } = connection
    await opened
    connection.isOpen = true
    const suspects = this.#options.suspects?.() ?? []
    const asked = performance.now()
    connection.bytes = connection.socket.bytesRead
    const { pid, read_only, running } = await ask(client, suspects)
    connection.answerMs = performance.now() - asked
    // `on` on a standby, and on a primary that was told to take no writes.
    if (read_only === 'on') throw Object.assign(new Error('The database is read-only'), { code: '25006' })
    const isPooled = pid !== (client as unknown as { processID: number }).processID
    return { connection, suspects, running: isPooled ? undefined : new Set(running) }
  }

  #drop(connection: Connection): void {
    if (!this.#open.delete(connection)) return
    const { client, socket, isOpen, onError } = connection
    this.#closedBytes += socket.bytesRead
    client.off('error', onError)
    // A client that is told to end while it connects never settles.
    if (isOpen) client.end()
    else socket.destroy()
    socket.destroySoon()
  }

  #connect(): Connection {
    const socket = new Socket()
    const { Client = pg.Client, ...options } = this.#connection
    const client = new Client({ ...options, stream: () => socket })
    const onError = () => {
      this.#drop(connection)
      this.#last = undefined
      this.#isLost = true
      this.#options.onLost?.()
    }
    const opened = client.connect()
    const connection = {
      client,
      socket,
      opened,
      isOpen: false,
      since: performance.now(),
      bytes: 0,
      answerMs: 0,
      onError,
    }
    this.#open.add(connection)
    client.on('error', () => {}) // of a connection that is dropped
    client.on('error', onError)
    return connection
  }
}

interface Row {
  pid: number
  read_only: string
  running?: number[]
}

/** Asks for the processes only if there are suspects, because their list costs the server more than the rest. */
async function ask(client: pg.Client, suspects: { pid: number }[]): Promise<Row> {
  const own = "pg_backend_pid() as pid, current_setting('transaction_read_only') as read_only"
  if (suspects.length === 0) return (await client.query<Row>(`select ${own}`)).rows[0] as Row
  // The state is null for a process of another role, which then counts as at work.
  const running =
    "array(select pid from pg_stat_activity where pid = any($1) and coalesce(state, '') not like 'idle%') as running"
  const { rows } = await client.query<Row>(`select ${own}, ${running}`, [suspects.map(({ pid }) => pid)])
  return rows[0] as Row
}
