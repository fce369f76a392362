import { type ColumnType, type CreateTableBuilder, sql } from 'kysely'

/*
 * For migrations, which are frozen: a helper here is never edited, since a migration that calls it would then make
 * another table than it once did. Other columns take a helper with another name. A test holds the SQL.
 */

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>

export interface Timestamps {
  created_at: Timestamp
  updated_at: Timestamp
}

/**
 * `createTable('notes').$call(millisecondTimestamps)`. Then `call keep_updated_at('notes')`: a trigger writes `updated_at`.
 * They hold milliseconds, as a `Date` does, so that a value which the service has read finds its row again.
 */
export function millisecondTimestamps<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table
    .addColumn('created_at', 'timestamptz(3)', (col) => col.notNull().defaultTo(sql`now()`))
    .addColumn('updated_at', 'timestamptz(3)', (col) => col.notNull().defaultTo(sql`now()`))
}

/** What migrations of before call. Their columns hold microseconds, of which a `Date` has the first three digits. */
export function timestamps<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table
    .addColumn('created_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
    .addColumn('updated_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
}
