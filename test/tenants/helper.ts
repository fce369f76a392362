/** What the tests of a service with tenants need beside `test/helper.ts`. */
import type { Insertable, Kysely } from 'kysely'
import type { DB } from '../../src/database/types.ts'
import { factory } from '../helper.ts'

/** Makes tenants: `const { id } = await tenants(app.db)()`. Then `withTenant(app.db, id, …)`, or a caller that names it. */
export function tenants(db: Kysely<DB>) {
  return factory(db, 'tenants', (n): Insertable<DB['tenants']> => ({ slug: `tenant-${n}`, name: `Tenant ${n}` }))
}
