/**
 * `npm run rename:migrations [-- FILE]`: gives the file, or those that `check:migrations` names and those behind them, a
 * timestamp of now. Where the development database has one of them, it applies what is pending there, and then records
 * them under their new names, as the last ones. Rows stay.
 */
import { existsSync, readdirSync, renameSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { type Kysely, sql } from 'kysely'
import type { Migrator } from 'kysely/migration'
import { loadEnvFile, namesDatabase } from '../../src/core/config/env-file.ts'
import { withMigrationLock } from '../../src/migrations/lock.ts'
import { newNames } from '../../src/migrations/names.ts'
import { appliedMigrations, migrationTable, schemaOf } from '../../src/migrations/tables.ts'
import { gitIn, Refusal } from '../upgrade/git.ts'
import { findings, nameOf, ROOT, refusing, target } from './check.ts'

/** Old and new names, with their extension. */
type Renames = [from: string, to: string][]

const FOLDER = path.join(ROOT, 'migrations')
const DEVELOPMENT = path.join(ROOT, '.local/dev.env')
const NEITHER = '--no-database: npm run rename:migrations -- --no-database'

await refusing(main)

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { database: { type: 'boolean' } },
    allowNegative: true,
    allowPositionals: true,
  })
  const renames = await wanted(positionals[0])
  if (renames.length === 0) return console.log('No migration is to be renamed.')
  if (values.database === false) rename(renames)
  else await renameApplied(renames, values.database === true)
  for (const [from, to] of renames) console.log(`migrations/${from} is migrations/${to}`)
}

async function wanted(given?: string): Promise<Renames> {
  const git = gitIn(ROOT)
  const ref = target(git)
  if (!ref && given === undefined)
    throw new Refusal('Nothing to compare the migrations with: npm run rename:migrations -- FILE')
  const found = ref ? await findings(git, ref) : undefined
  const merged = found?.merged ?? []
  const names = given === undefined ? (found?.late ?? []) : [path.basename(given)]
  for (const name of names) {
    if (!existsSync(path.join(FOLDER, name))) throw new Refusal(`There is no migrations/${name}`)
    if (merged.includes(name)) throw new Refusal(`migrations/${name} is in ${ref}, and frozen`)
  }
  const last = [...merged, ...readdirSync(FOLDER)].toSorted().at(-1) ?? ''
  const renamed = newNames(names, last)
  return names.map((name, index) => [name, renamed[index] as string])
}

function rename(renames: Renames): void {
  for (const [from, to] of renames) renameSync(path.join(FOLDER, from), path.join(FOLDER, to))
}

/** `isMeant`: a database counts although npm run dev did not start it. */
async function renameApplied(renames: Renames, isMeant: boolean): Promise<void> {
  loadEnvFile(ROOT)
  const isOwn = !namesDatabase(process.env)
  if (isOwn && !existsSync(DEVELOPMENT)) {
    throw new Refusal(`The database of npm run dev may have it applied: start that first, or say ${NEITHER}`)
  }
  if (!isOwn && !isMeant) {
    throw new Refusal(
      'The settings name a database that npm run dev did not start. Where it has the old name, its record is to follow: ' +
        `npm run rename:migrations -- --database. Else say ${NEITHER}`,
    )
  }
  const { default: config } = await import('../../kysely.config.ts')
  const db = config.kysely as Kysely<never>
  try {
    await follow(db, (await config.migrations?.migrator?.(db)) as Migrator, renames)
  } finally {
    await db.destroy()
  }
}

/** Renames both. What is pending is applied before, because a later record would keep it out. */
async function follow(db: Kysely<never>, migrator: Migrator, renames: Renames): Promise<void> {
  const schema = await schemaOf(db, process.env['DATABASE_SCHEMA'] || undefined)
  const applied = await appliedMigrations(db, schema)
  if (!renames.some(([from]) => applied.includes(nameOf(from)))) return rename(renames)
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error) throw error
  for (const { migrationName } of results) console.log(`applied ${migrationName}`)
  const table = migrationTable(schema)
  await db.connection().execute((connection) =>
    withMigrationLock(connection, {}, () =>
      connection.transaction().execute(async (trx) => {
        for (const [index, [from, to]] of renames.entries()) {
          const time = new Date(Date.now() + index).toISOString()
          await sql`update ${table} set name = ${nameOf(to)}, timestamp = ${time} where name = ${nameOf(from)}`.execute(
            trx,
          )
        }
        rename(renames)
      }),
    ),
  )
}
