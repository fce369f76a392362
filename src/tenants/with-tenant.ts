import { type Kysely, sql, type Transaction } from 'kysely'
import { HttpError } from '../core/http-error.ts'
import { unread } from '../database/opening.ts'

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i

export interface TenantOptions {
  /** Refuses a tenant that is not there, or whose `is_active` is false. */
  active?: boolean
}

/** The tenant is not there, or is not active: one answer for both, so that nobody learns which. */
export class TenantInactiveError extends HttpError {
  override name = 'TenantInactiveError'

  constructor() {
    super(403, 'The tenant is not active', { code: 'TENANT_INACTIVE' })
  }
}

/**
 * Runs a transaction that sees and writes that tenant's rows alone, in every table for which a migration called
 * `isolate_tenants`. Throws TypeError when the id is no UUID, and with `active` TenantInactiveError.
 */
export async function withTenant<DB, T>(
  db: Kysely<DB>,
  tenantId: string,
  run: (trx: Transaction<DB>) => Promise<T>,
  options?: TenantOptions,
): Promise<T> {
  const trx = await db.startTransaction().execute()
  try {
    await setTenant(trx, tenantId, options)
    const result = await run(trx)
    await trx.commit().execute()
    return result
  } catch (err) {
    // Kysely's own transaction() throws the error of its ROLLBACK instead, which fails on a connection that is lost.
    await trx
      .rollback()
      .execute()
      .catch(() => {})
    throw err
  }
}

/**
 * The same for the rest of a transaction that is open already, such as one of `transact`. Throws TypeError when the id is
 * no UUID; the transaction then has the tenant of before. With `active` throws TenantInactiveError; it then has none.
 */
export async function setTenant<DB>(
  trx: Transaction<DB>,
  tenantId: string,
  { active = false }: TenantOptions = {},
): Promise<void> {
  checkTenantId(tenantId)
  // `true`: for this transaction only. The connection goes back to its pool, or pooler, without it.
  const set = sql`select set_config('app.tenant_id', ${tenantId}, true)`
  if (!active) return void (await trx.executeQuery(unread(set.compile(trx))))
  // The tenant of before goes first, because with it the table shows that one alone. `offset 0`: in this order.
  const { rows } = await sql`
    ${set} from (select set_config('app.tenant_id', '', true) as none offset 0) as cleared
     cross join lateral (
       select from tenants where id = ${tenantId} and is_active and cleared.none = '' offset 0) as tenant`.execute(trx)
  if (rows.length === 0) throw new TenantInactiveError()
}

export function checkTenantId(tenantId: string): void {
  // What is no string could read as one id here and as another one in the query.
  if (typeof tenantId !== 'string' || !UUID.test(tenantId)) throw new TypeError('The tenant id is not a UUID')
}
