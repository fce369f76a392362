import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kysely } from 'kysely'
import type { Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import { configure } from '../support/app.ts'
import { backends, copyProject, database, query, ROOT } from '../support/helper.ts'

export const CHUNKS = 'select from timescaledb_information.chunks'
export const NOT_OFFERED = 'the server does not offer timescaledb: name one that does in TEST_DATABASE_URL'

export async function offersTimescaledb(): Promise<boolean> {
  return (await query(backends.database, "select from pg_available_extensions where name = 'timescaledb'")).length > 0
}

/** A database with one of the tables of docs/time-series.md: the first is that with tenants, the last that without. */
export async function readings(t: Test, block: number) {
  const page = readFileSync(path.join(ROOT, 'docs/time-series.md'), 'utf8')
  const migration = [...page.matchAll(/```ts\n(.*?)```/gs)].at(block)?.[1] as string
  const directory = await copyProject(t, { 'migrations/99990101000000_readings.ts': migration })
  const url = await database(t)
  const db = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => db.destroy())
  const migrator = createMigrator(db, { folder: path.join(directory, 'migrations') })
  t.equal((await migrator.migrateToLatest()).error, undefined)
  return { url, migrator }
}

/**
 * Starts a server that offers an extension of that name, empty, which only a superuser may create unless it is
 * `trusted`. Returns the superuser's URL.
 */
export async function offerTimescaledb(t: Test, { trusted = true, preloaded = true } = {}): Promise<string> {
  const directory = t.testdir({
    extension: {
      'timescaledb.control': `default_version = '1.0'\nsuperuser = true\ntrusted = ${trusted}\n`,
      'timescaledb--1.0.sql': '',
    },
  })
  const settings = {
    // Before version 18 a server looks nowhere but among its own files.
    extension_control_path: `${directory}:$system`,
    ...(preloaded && { 'timescaledb.max_background_workers': '0' }),
  }
  const postgres = await startPostgres({ version: 18, settings })
  t.teardown(() => postgres.close())
  return postgres.url
}
