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

/** `createTable('notes').$call(timestamps)`. Then `call keep_updated_at('notes')`: a trigger writes `updated_at`. */
export function timestamps<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table
    .addColumn('created_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
    .addColumn('updated_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
}
