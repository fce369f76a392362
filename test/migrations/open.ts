import { Kysely } from 'kysely'
import type { MigrationResultSet } from 'kysely/migration'
import type { Test } from 'tap'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import { configure } from '../support/app.ts'

/** The migrator of this folder, and what tells the names of those that it ran. */
export async function open(t: Test, DATABASE_URL: string, folder: string) {
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL })) })
  t.teardown(() => db.destroy())
  const names = async (run: Promise<MigrationResultSet>) => {
    const { error, results = [] } = await run
    if (error) throw error
    return results.map(({ direction, migrationName }) => `${direction} ${migrationName.slice(15)}`)
  }
  return { db, migrator: createMigrator(db, { folder }), names }
}
