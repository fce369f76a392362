import { type QueryExecutorProvider, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { EmptyMigrationError, NotRolledBackError } from './errors.ts'
import { RESET } from './in-transaction.ts'

/**
 * Runs a migration outside a transaction, for CREATE INDEX CONCURRENTLY and the like. That waits for every older
 * transaction and holds up nobody meanwhile, so it gets no lock timeout. Cut short, it would leave an INVALID index, which
 * costs every write and serves no query. Throws NotRolledBackError, which names such an index, before `run` too.
 * `row_security` is off as in `inTransaction`.
 */
export function concurrently(run: Migration['up']): Migration['up'] {
  return async (db) => {
    await refuseInvalidIndexes(db)
    await sql`set lock_timeout = 0; set row_security = off`.execute(db)
    try {
      await run(db)
    } catch (err) {
      if (err instanceof EmptyMigrationError) throw err
      // A transaction that the migration has begun itself refuses every other statement after an error.
      await sql`select`.execute(db).catch(() => sql`rollback`.execute(db))
      await refuseInvalidIndexes(db, err)
      throw new NotRolledBackError((err as Error).message, { cause: err })
    } finally {
      await RESET.execute(db)
    }
  }
}

/**
 * Looks at the tables that this role owns, by PostgreSQL's own rule for who may index a table and drop the index: its
 * owner, and a member that inherits the owner's rights. A superuser may drop every index, so it looks at its own tables
 * alone. A schema with migrations of its own is another service's, even if the role is the same. A partitioned table's
 * index does not count, because it waits for its partitions.
 */
async function refuseInvalidIndexes(db: QueryExecutorProvider, cause?: unknown): Promise<void> {
  // Only the role that builds an index concurrently may see which it is, but all see its lock on the table.
  const { rows } = await sql<{ name: string }>`
    select c.oid::regclass::text as name
      from pg_index i
      join pg_class c on c.oid = i.indexrelid
      join pg_roles r on r.rolname = current_user
     where not i.indisvalid and c.relkind = 'i'
       and (c.relowner = r.oid or not r.rolsuper and pg_has_role(c.relowner, 'usage'))
       and not exists (
         select from pg_stat_progress_create_index p join pg_locks l using (pid)
          where p.datname = current_database() and l.relation = i.indrelid
            and l.mode = 'ShareUpdateExclusiveLock' and l.granted)
       and not exists (
         select from pg_class k where k.relnamespace = c.relnamespace and k.relname = 'kysely_migration'
            and k.relnamespace <> to_regnamespace(quote_ident(current_schema())))
     order by 1`.execute(db)
  if (rows.length === 0) return
  const names = rows.map(({ name }) => name).join(', ')
  const message = `INVALID, left by a try that was cut short: ${names}. DROP INDEX CONCURRENTLY, then migrate again`
  throw new NotRolledBackError(message, { cause })
}
