import type { Test } from 'tap'
import { migrationsFolder } from '../support/helper.ts'

/**
 * A folder with the skeleton's migrations and some of the test's own. Those of a service may make tables of these names,
 * isolate some, refer to the table tenants, or know no way down.
 */
export function skeletonMigrations(t: Test, files: Record<string, string> = {}): string {
  return migrationsFolder(t, files, /^\d+_(base_structure|tenants|tenants_own_row|squashed)\.ts$/)
}
