import { type CreateTableBuilder, type Generated, sql } from 'kysely'
import { millisecondTimestamps, type Timestamps, timestamps } from '../database/columns.ts'

export type TenantColumns = Timestamps & { tenant_id: string }

/**
 * `createTable('notes').$call(tenantId)`. Then `call isolate_tenants('notes')`, and an index that starts with it.
 * Never edited, as every helper for migrations: see `src/database/columns.ts`.
 */
export function tenantId<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return table.addColumn('tenant_id', 'uuid', (col) => col.notNull().references('tenants.id'))
}

/** What migrations of before call: with `timestamps`, which hold microseconds. Never edited either. */
export function tenantColumns<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return timestamps(tenantId(table))
}

export type TenantTable = TenantColumns & { id: Generated<string> }

/**
 * `createTable('notes').$call(tenantTable)`: the columns of a tenant, an id, and the primary key `(tenant_id, id)`, which no
 * other tenant's rows can collide with. Then `call isolate_tenants('notes')`. Never edited either.
 */
export function tenantTable<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return millisecondTimestamps(tenantId(table))
    .addColumn('id', 'uuid', (col) => col.notNull().defaultTo(sql`gen_random_uuid()`))
    .addPrimaryKeyConstraint(`${nameOf(table)}_pkey`, ['tenant_id', 'id'])
}

export interface TenantReferenceOptions {
  /** What happens to the row when the one that it refers to is deleted; by default that is refused. */
  onDelete?: 'cascade' | 'set null'
  /** Whether the column may be null. It may with `set null`. */
  nullable?: boolean
}

/**
 * `.$call(tenantReference('customer_id', 'customers'))`: a column that refers to a row of the same tenant, because PostgreSQL
 * checks foreign keys past the policies. Both tables need `tenantTable`, or that key. Never edited either.
 */
export function tenantReference<N extends string>(column: N, target: string, options: TenantReferenceOptions = {}) {
  const { onDelete, nullable = onDelete === 'set null' } = options
  return <T extends string, C extends string>(table: CreateTableBuilder<T, C>): CreateTableBuilder<T, C | N> => {
    const name = sql.id(`${nameOf(table)}_${column}_fkey`)
    const key = sql`foreign key ("tenant_id", ${sql.id(column)}) references ${sql.table(target)} ("tenant_id", "id")`
    const action = sql.raw(onDelete ? ` on delete ${onDelete}` : '')
    // Of the column alone, since tenant_id stays. Kysely's onDelete() takes no column, so the column's type carries the key.
    const which = onDelete === 'set null' ? sql` (${sql.id(column)})` : sql``
    return table.addColumn(
      column,
      sql`uuid${sql.raw(nullable ? '' : ' not null')}, constraint ${name} ${key}${action}${which}`,
    )
  }
}

/** Without the schema. */
function nameOf(table: CreateTableBuilder<string, string>): string {
  return table.toOperationNode().table.table.identifier.name
}
