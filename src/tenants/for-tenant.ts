import type { Compilable, CompiledQuery, Kysely, QueryResult } from 'kysely'
import pg from 'pg'
import { checkTenantId, TenantInactiveError, type TenantOptions } from './with-tenant.ts'

const SET = "select set_config('app.tenant_id', $1, true)"
/** Divides by zero unless the tenant is there and active. */
const SET_IF_ACTIVE = `select set_config('app.tenant_id', $1::text, 1 / count(*) = 1)
  from tenants where id = $1::text::uuid and is_active`
const DIVISION_BY_ZERO = '22012'

/**
 * Runs one query that sees and writes that tenant's rows alone, in one trip to the database, where `withTenant` makes
 * four. It is a transaction of its own, as any query without one is. Throws TypeError when the id is no UUID, or `db` is a
 * transaction, whose other queries would get the tenant too; with `active` TenantInactiveError.
 */
export async function forTenant<O>(
  db: Pick<Kysely<unknown>, 'executeQuery' | 'isTransaction'>,
  tenantId: string,
  query: Compilable<O> | CompiledQuery<O>,
  { active = false }: TenantOptions = {},
): Promise<QueryResult<O>> {
  checkTenantId(tenantId)
  if (db.isTransaction) throw new TypeError('forTenant is a transaction of its own: take setTenant in an open one')
  const compiled = 'compile' in query ? query.compile() : query
  // Kysely hands over what pg's query() takes: a text or a query.
  const sql = new TenantQuery(compiled, tenantId, active) as unknown as string
  return db.executeQuery({ ...compiled, sql, parameters: [] })
}

type Callback = (err: Error | null, result?: unknown) => void

/** What is used of pg 8.23's insides. test/tenants/for-tenant.test.ts fails when they change. */
interface Connection {
  parse(statement: { text: string }): void
  bind(portal: { values: unknown[] }): void
  execute(portal: object): void
}
interface PgQuery {
  text: string
  prepare(connection: Connection): void
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown, connection: Connection): void
  handleError(err: { code?: string | undefined }, connection: Connection): void
}
const PgQuery = pg.Query as unknown as new (config: object, values: readonly unknown[], callback: Callback) => PgQuery

/**
 * Sends the setting ahead of the query, and one Sync behind both: PostgreSQL runs them in one transaction, at whose end
 * the setting is gone. If the setting fails, PostgreSQL skips the query.
 */
class TenantQuery extends PgQuery {
  readonly #tenantId: string
  readonly #active: boolean
  readonly #result: Promise<unknown>
  #isSet = false

  constructor({ sql, parameters }: CompiledQuery, tenantId: string, active: boolean) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    super({ text: sql, queryMode: 'extended' }, parameters, (err, result) => (err ? reject(err) : resolve(result)))
    this.#tenantId = tenantId
    this.#active = active
    this.#result = promise
  }

  override prepare(connection: Connection): void {
    connection.parse({ text: this.#active ? SET_IF_ACTIVE : SET })
    connection.bind({ values: [this.#tenantId] })
    connection.execute({})
    super.prepare(connection)
  }

  override handleDataRow(message: unknown): void {
    if (this.#isSet) super.handleDataRow(message)
  }

  override handleCommandComplete(message: unknown, connection: Connection): void {
    if (this.#isSet) super.handleCommandComplete(message, connection)
    this.#isSet = true
  }

  override handleError(err: { code?: string | undefined }, connection: Connection): void {
    super.handleError(err.code === DIVISION_BY_ZERO && !this.#isSet ? new TenantInactiveError() : err, connection)
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
