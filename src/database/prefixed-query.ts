import type { CompiledQuery } from 'kysely'
import pg from 'pg'

type Callback = (err: Error | null, result?: unknown) => void

/** What is used of pg 8.23's insides: test/database/trips.test.ts fails when they change. */
interface Connection {
  parse(statement: { text: string }): void
  bind(portal: { values: readonly unknown[] }): void
  execute(portal: object): void
  sync(): void
}
interface PgQuery {
  text: string
  prepare(connection: Connection): void
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown, connection: Connection): void
  handleCopyInResponse(connection: Connection): void
}
const PgQuery = pg.Query as unknown as new (config: object, values: readonly unknown[], callback: Callback) => PgQuery

/** A statement without a result, or whose result nobody reads. Its values are texts. */
export type Prefix = Pick<CompiledQuery, 'sql' | 'parameters'>

/**
 * One statement, and others that go ahead of it in the same trip: one Sync behind them all, so that PostgreSQL skips what
 * follows an error, and without a BEGIN runs them in one transaction. pg's own pipeline mode has a Sync behind each.
 */
export class PrefixedQuery extends PgQuery {
  /** How many of the prefixes are done. */
  done = 0
  readonly #prefixes: Prefix[]
  readonly #query: CompiledQuery
  readonly #result: Promise<unknown>

  constructor(prefixes: Prefix[], query: CompiledQuery) {
    const { sql, parameters } = query
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    super({ text: sql, queryMode: 'extended' }, parameters, (err, result) => (err ? reject(err) : resolve(result)))
    this.#prefixes = prefixes
    this.#query = query
    this.#result = promise
  }

  override prepare(connection: Connection): void {
    for (const { sql, parameters } of this.#prefixes) {
      connection.parse({ text: sql })
      connection.bind({ values: parameters })
      connection.execute({})
    }
    super.prepare(connection)
  }

  override handleDataRow(message: unknown): void {
    if (this.#arePrefixesDone) super.handleDataRow(message)
  }

  override handleCommandComplete(message: unknown, connection: Connection): void {
    if (this.#arePrefixesDone) super.handleCommandComplete(message, connection)
    else this.done++
  }

  /** pg refuses to copy. PostgreSQL has ignored the Sync that came while it waited for the rows. */
  override handleCopyInResponse(connection: Connection): void {
    super.handleCopyInResponse(connection)
    connection.sync()
  }

  get #arePrefixesDone(): boolean {
    return this.done === this.#prefixes.length
  }

  /** As Kysely hands it over: pg's query() takes a text or a query. */
  get compiled(): CompiledQuery {
    return { ...this.#query, sql: this as unknown as string }
  }

  /** pg's query() gives back the query that it was given, and Kysely awaits it. */
  // biome-ignore lint/suspicious/noThenProperty: that is what `await` asks for
  then(...args: Parameters<Promise<unknown>['then']>): Promise<unknown> {
    return this.#result.then(...args)
  }

  /** For Kysely's log. */
  override toString(): string {
    return this.text
  }
}
