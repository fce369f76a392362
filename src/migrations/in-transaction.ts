import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/**
 * Takes back what a migration leaves in its session, such as the search_path that the first line of a dump sets, or a
 * temporary table. So it finds the same session whether it runs alone or after others.
 */
export const RESET = sql`reset session authorization; reset role; reset all; discard temp`

/**
 * Runs a migration inside its transaction. A migration has no tenant: row-level security that holds for the table's
 * owner too (FORCE) would hide every row from it, and an `update` would change none and say complete. With
 * `row_security` off PostgreSQL refuses what would miss rows (42501).
 */
export function inTransaction(run: Migration['up']): Migration['up'] {
  return async (db) => {
    await sql`set local row_security = off`.execute(db)
    await run(db)
    // COMMIT would check the deferred constraints, and its error does not say which migration it is about.
    await sql`set constraints all immediate`.execute(db)
    await RESET.execute(db)
  }
}
