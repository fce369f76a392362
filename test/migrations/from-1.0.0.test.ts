import { readFileSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { Kysely, PostgresDialect } from 'kysely'
import t, { type Test } from 'tap'
import { createMigrator } from '../../src/migrations/migrator.ts'
import { unstarted } from '../support/app.ts'
import { CATALOGS } from '../support/catalogs.ts'
import { database, migrationsFolder, query } from '../support/helper.ts'
import { plainPool } from '../support/plain-pool.ts'

const FILE = '20261101000000_base_structure.ts'
const OLD = path.join(import.meta.dirname, 'fixtures', FILE)
/** What a service of 1.0.0 has made since. */
const SINCE = '20261120000000_notes.ts'

/** Migrates with the one file that 1.0.0 had, and with those that its service had since. */
async function migrateAs100(t: Test, connectionString: string, since: Record<string, string>): Promise<void> {
  const folder = t.testdir({ [FILE]: readFileSync(OLD, 'utf8'), ...since })
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool: plainPool(connectionString) }) })
  t.equal((await createMigrator(db, { folder }).migrateToLatest()).error, undefined)
  await db.destroy()
}

const services: Record<string, Record<string, string>> = {
  'as it was': {},
  'with a table of its service': { [SINCE]: 'create table notes_of_1_0_0 ()' },
  'whose service has dropped the tenants': { [SINCE]: 'drop table tenants' },
}

for (const [name, statements] of Object.entries(services)) {
  t.test(`a database that 1.0.0 has migrated, ${name}, boots, and has the schema of a new one`, async (t) => {
    const since = Object.fromEntries(
      Object.entries(statements).map(([file, statement]) => [
        file,
        `import { sql } from 'kysely'\nexport const up = (db) => sql\`${statement}\`.execute(db)\n`,
      ]),
    )
    const [old, fresh] = [await database(t, { empty: true }), await database(t, { empty: true })]
    await migrateAs100(t, old, since)
    const folder = await mkdtemp(path.join(t.testdirName, '..', 'migrations-'))
    t.teardown(() => rm(folder, { recursive: true }))
    await cp(migrationsFolder(t, since), folder, { recursive: true })
    for (const DATABASE_URL of [fresh, old, old]) {
      const app = await unstarted(t, { DATABASE_URL }, { folder })
      await app.lifecycle.start()
      t.match(app.migrations.state, { pending: [], unknown: [] })
    }
    t.same(await query(old, CATALOGS), await query(fresh, CATALOGS))
    const applied = 'select name from kysely_migration order by timestamp, name'
    t.same(await query(old, applied), await query(fresh, applied))
  })
}
