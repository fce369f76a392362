import { type CreateTableBuilder, sql } from 'kysely'
import type { Tenants } from './types.ts'

/*
 * For migrations, which are frozen: a helper here is never edited, since a migration that calls it would then make
 * another table than it once did. Other columns take a helper with another name. A test holds the SQL.
 */

export type Timestamps = Pick<Tenants, 'created_at' | 'updated_at'>
export type TenantColumns = Timestamps & { tenant_id: string }

/** `createTable('notes').$call(timestamps)`. Then `call keep_updated_at('notes')`: a trigger writes `updated_at`. */
export function timestamps<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table
    .addColumn('created_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
    .addColumn('updated_at', 'timestamptz', (col) => col.notNull().defaultTo(sql`now()`))
}

/** `createTable('notes').$call(tenantColumns)`. Then `call isolate_tenants('notes')`, and an index that starts with it. */
export function tenantColumns<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return timestamps(table.addColumn('tenant_id', 'uuid', (col) => col.notNull().references('tenants.id')))
}
