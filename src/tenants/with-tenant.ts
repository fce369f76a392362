import { type Kysely, sql, type Transaction } from 'kysely'

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i

/**
 * Runs a transaction that sees and writes that tenant's rows alone, in every table for which a migration called
 * `isolate_tenants`. Throws TypeError when the id is no UUID.
 */
export async function withTenant<DB, T>(
  db: Kysely<DB>,
  tenantId: string,
  run: (trx: Transaction<DB>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (trx) => {
    await setTenant(trx, tenantId)
    return run(trx)
  })
}

/**
 * The same for the rest of a transaction that is open already, such as one of `transact`.
 * Throws TypeError when the id is no UUID.
 */
export async function setTenant<DB>(trx: Transaction<DB>, tenantId: string): Promise<void> {
  if (!UUID.test(tenantId)) throw new TypeError('The tenant id is not a UUID')
  // `true`: for this transaction only. The connection goes back to its pool, or pooler, without it.
  await sql`select set_config('app.tenant_id', ${tenantId}, true)`.execute(trx)
}
