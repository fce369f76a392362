import type { CompiledQuery, DatabaseConnection, QueryResult } from 'kysely'
import { PrefixedQuery } from './prefixed-query.ts'

type Execute = DatabaseConnection['executeQuery']

const unreadQueries = new WeakSet<CompiledQuery>()

/** Says that nobody reads its result, so that it need not go out before the statement that follows. */
export function unread<Q extends CompiledQuery>(query: Q): Q {
  unreadQueries.add(query)
  return query
}

/**
 * The beginning of a transaction on a connection: BEGIN, and what is `unread`, are held back and go out with the first
 * statement. So an error of BEGIN is that statement's, and every later one's, because the server would run and commit
 * each of them alone.
 */
export class Opening {
  #held: CompiledQuery[] = []
  #failure: unknown
  #flushed: Promise<void> | undefined
  #isBegin = false
  readonly #execute: Execute

  constructor(connection: DatabaseConnection) {
    this.#execute = connection.executeQuery.bind(connection)
    connection.executeQuery = (query, options) => this.#run(query, options) as Promise<QueryResult<never>>
    const stream = connection.streamQuery.bind(connection)
    connection.streamQuery = async function* (this: Opening, ...args: Parameters<typeof stream>) {
      await this.#flush()
      return yield* stream(...args)
    }.bind(this) as typeof stream
  }

  /** Whether nothing of the transaction has gone out. */
  get isHeld(): boolean {
    return this.#held.length > 0
  }

  /** The next statement is the BEGIN. */
  begin(): void {
    this.#failure = undefined
    this.#isBegin = true
  }

  /** Waits for a BEGIN that went out by itself, since a callback need not wait for the statement that follows it. */
  async flushed(): Promise<void> {
    await this.#flushed?.catch(() => {})
  }

  /**
   * Runs the ROLLBACK. A statement that comes meanwhile, of a `Promise.all` that has failed, would run alone and commit:
   * Kysely sends it.
   */
  async rollback(run: () => Promise<void>): Promise<void> {
    this.forget()
    const done = run()
    this.#failure = new Error('The transaction is rolled back: await each of its statements before it ends')
    await done.finally(() => this.forget())
  }

  /** What is held back must not reach the next user of the connection. */
  forget(): void {
    this.#held = []
    this.#failure = undefined
  }

  throwFailure(): void {
    if (this.#failure) throw this.#failure
  }

  async #run(query: CompiledQuery, options?: Parameters<Execute>[1]): Promise<QueryResult<unknown>> {
    this.throwFailure()
    if (this.#isBegin || (this.isHeld && unreadQueries.has(query))) {
      this.#isBegin = false
      this.#held.push(query)
      return { rows: [] }
    }
    if (!this.isHeld) return this.#execute(query, options)
    // The protocol that takes several statements in a text takes one text.
    if (query.parameters.length === 0 && query.sql.includes(';')) {
      await this.#flush()
      return this.#execute(query, options)
    }
    const prefixed = new PrefixedQuery(this.#take(), query)
    return this.#opens(prefixed.compiled, () => prefixed.done > 0, options)
  }

  /** Sends it all, one after the other. */
  #flush(): Promise<void> {
    this.#flushed = this.#send()
    return this.#flushed
  }

  async #send(): Promise<void> {
    this.throwFailure()
    const [begin, ...rest] = this.#take()
    if (begin) await this.#opens(begin, () => false)
    for (const query of rest) await this.#execute(query)
  }

  #take(): CompiledQuery[] {
    const held = this.#held
    this.#held = []
    return held
  }

  async #opens(query: CompiledQuery, isBegun: () => boolean, options?: Parameters<Execute>[1]) {
    try {
      return await this.#execute(query, options)
    } catch (err) {
      if (!isBegun()) this.#failure = err
      throw err
    }
  }
}
