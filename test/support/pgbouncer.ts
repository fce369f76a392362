import type { Test } from 'tap'
import type { Server } from '../../dev/server.ts'
import { database } from './helper.ts'
import { hasPgbouncer, startPgbouncer } from './pgbouncer-server.ts'

/** What a test that needs PgBouncer passes to tap: where it is missing, the test says so and is skipped. */
export const needsPgbouncer = { skip: hasPgbouncer() ? false : 'pgbouncer is not installed' }

/** A database of the test's own, reached over PgBouncer for the service and beside it for migrations. */
export async function pooled(t: Test, { empty = false } = {}) {
  const direct = await database(t, { empty })
  return over(await startPgbouncer(t, direct), direct)
}

/** The settings of a service that uses PgBouncer. */
export function over(pgbouncer: Server, direct: string) {
  return { DATABASE_URL: pgbouncer.url, DATABASE_MIGRATION_URL: direct, DATABASE_STATEMENT_TIMEOUT_MS: '0' }
}
