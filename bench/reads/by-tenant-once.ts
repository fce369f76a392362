import type { Kysely } from 'kysely'
import { forTenant } from '../../src/tenants/for-tenant.ts'
import { TENANT_ID } from './by-tenant.ts'
import type { Note, Read } from './read.ts'

/** One trip to the database, of the rows that `by-tenant.ts` makes. */
const read: Read = {
  route: '/tenant-once',
  name: '`forTenant`',
  reader(_, notes) {
    const db = notes as unknown as Kysely<{ bench_tenant_notes: Note }>
    return async (id) => {
      const query = db.selectFrom('bench_tenant_notes').select(['id', 'text']).where('id', '=', id)
      return (await forTenant(db, TENANT_ID, query)).rows[0]
    }
  },
  least: 0.95,
  atLeast: { times: 0.65, route: '/kysely', what: 'one query of a tenant over the same without' },
}

export default read
