import type { Compilable, CompiledQuery, Kysely, QueryResult } from 'kysely'
import { PrefixedQuery } from '../database/prefixed-query.ts'
import { setsTenant } from './sessions.ts'
import { checkTenantId, TenantInactiveError, type TenantOptions } from './with-tenant.ts'

const SET = "select set_config('app.tenant_id', $1, true)"
/** Divides by zero unless the tenant is there and active. */
const SET_IF_ACTIVE = `select set_config('app.tenant_id', $1::text, 1 / count(*) = 1)
  from tenants where id = $1::text::uuid and is_active`
const DIVISION_BY_ZERO = '22012'

/**
 * Runs one query that sees and writes that tenant's rows alone, in one trip to the database, where `withTenant` makes
 * two or more. It is a transaction of its own, as any query without one is. Throws TypeError when the id is no UUID, `db`
 * is a transaction, whose other queries would get the tenant too, or the query sets the tenant of the session; with
 * `active` TenantInactiveError.
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
  // guardSessions cannot undo it behind a pooler, which has lent the connection to another client by then.
  if (setsTenant(compiled.sql, compiled.parameters)) throw new TypeError('The query of forTenant sets a tenant itself')
  const prefixed = new PrefixedQuery([{ sql: active ? SET_IF_ACTIVE : SET, parameters: [tenantId] }], compiled)
  return db.executeQuery<O>(prefixed.compiled as CompiledQuery<O>).catch((err) => {
    throw err.code === DIVISION_BY_ZERO && prefixed.done === 0 ? new TenantInactiveError() : err
  })
}
