import type { Test } from 'tap'
import { ownedDatabases, servingRole } from '../../dev/databases.ts'
import { startPostgres } from '../../dev/postgres.ts'
import { query } from '../support/helper.ts'

/** A server whose roles are those of production: one migrates, one serves. `own` runs SQL as the first of them. */
export async function twoRoles(t: Test) {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const [DATABASE_MIGRATION_URL = ''] = await ownedDatabases(postgres.url, 'shop_owner', ['shop'])
  const [DATABASE_URL = ''] = await servingRole(postgres.url, 'shop', 'shop_owner', ['shop'])
  return {
    settings: { DATABASE_URL, DATABASE_MIGRATION_URL },
    own: (sql: string) => query(DATABASE_MIGRATION_URL, sql),
    superuser: (sql: string) => query(Object.assign(new URL(postgres.url), { pathname: 'shop' }).href, sql),
    postgres,
  }
}
