import type { Kysely } from 'kysely'
import type { DB } from '../src/database/types.ts'

/** Two tenants to develop with. A second run changes nothing. */
export async function seed(db: Kysely<DB>): Promise<void> {
  await db
    .insertInto('tenants')
    .values([
      { id: '00000000-0000-4000-8000-000000000001', slug: 'acme', name: 'Acme' },
      { id: '00000000-0000-4000-8000-000000000002', slug: 'globex', name: 'Globex' },
    ])
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}
