import type { CreateTableBuilder } from 'kysely'
import { type Timestamps, timestamps } from '../database/columns.ts'

export type TenantColumns = Timestamps & { tenant_id: string }

/**
 * `createTable('notes').$call(tenantColumns)`. Then `call isolate_tenants('notes')`, and an index that starts with it.
 * Never edited, as every helper for migrations: see `src/database/columns.ts`.
 */
export function tenantColumns<T extends string, C extends string>(table: CreateTableBuilder<T, C>) {
  return timestamps(table.addColumn('tenant_id', 'uuid', (col) => col.notNull().references('tenants.id')))
}
