import { readdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import path from 'node:path'
import { PostgresDialect, type QueryExecutorProvider } from 'kysely'
import type { Migration, Migrator, MigratorProps } from 'kysely/migration'
import pg from 'pg'
import type { Config } from '../core/config/settings.ts'
import { connectionOptions } from '../database/connection.ts'
import { concurrently } from './concurrently.ts'
import { EmptyMigrationError, explained, MigrationError } from './errors.ts'
import { inTransaction } from './in-transaction.ts'
import { pendingOf, refuseSquashed } from './names.ts'
import type { MigrationOptions } from './options.ts'
import { MigrationRunner, type ProjectMigration } from './runner.ts'
import { sends } from './sends.ts'
import { appliedMigrations, schemaOf } from './tables.ts'

const FOLDER = path.join(import.meta.dirname, '../../migrations')

/** Applied ones in their order, pending ones, and `unknown`: applied, but no file of this code has that name. */
export interface MigrationState {
  applied: string[]
  pending: string[]
  unknown: string[]
}

/** The one migrator, of boot and CLI: the same folder, tables, lock and rules, whichever runs first. */
export function createMigrator(db: MigratorProps['db'], options: MigrationOptions = {}): Migrator {
  return new MigrationRunner({ db, provider: { getMigrations: () => loadMigrations(options) }, ...options })
}

/** Kysely's dialect over the direct connection of the role that owns the schema. */
export function migrationDialect(config: Config, options?: MigrationOptions): PostgresDialect {
  return new PostgresDialect({ pool: migrationPool(config, options) })
}

/** The one connection that migrates. */
export function migrationPool(config: Config, { notice, signal }: MigrationOptions = {}): pg.Pool {
  const base = connectionOptions(config, 'migration')
  const pool = new pg.Pool({
    stream: () => new Socket(signal && { signal }),
    ...base,
    max: 1,
    connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
    // DDL that waits for a table lock holds up every query behind it. There is no statement timeout: it would cut
    // off a long migration.
    lock_timeout: config.MIGRATION_LOCK_TIMEOUT_MS,
    // A server whose client was killed goes on with the statement, and keeps the lock, unless it looks (14 and newer).
    options: `${base.options ?? ''} -c client_connection_check_interval=1000`,
  })
  pool.on('error', () => {})
  pool.on('connect', (client) => {
    client.on('error', () => {})
    client.on('notice', ({ message }) => notice?.(message))
  })
  return pool
}

/** Compares the migrations folder with the database. Takes no lock and writes nothing. */
export async function migrationState(
  db: QueryExecutorProvider,
  { folder, schema }: Pick<MigrationOptions, 'folder' | 'schema'> = {},
): Promise<MigrationState> {
  const files = (await migrationFiles(folder)).map(nameOf)
  const applied = await appliedMigrations(db, await schemaOf(db, schema))
  return {
    applied,
    pending: pendingOf(files, applied),
    unknown: applied.filter((name) => !files.includes(name)),
  }
}

/** Throws for a file that is none: a misnamed migration must not be skipped in silence. */
async function migrationFiles(folder = FOLDER): Promise<string[]> {
  const all = await readdir(folder).catch((cause) => {
    throw new MigrationError('the folder migrations/ cannot be read', { cause })
  })
  const files = all.filter((file) => !file.startsWith('.')).sort()
  const other = files.find((file) => !/^\d{14}_[\w-]+\.[jt]s$/.test(file))
  if (other) throw new MigrationError(`migrations/${other} is not named <UTC timestamp>_<what_it_does>.ts`)
  return files
}

function nameOf(file: string): string {
  return path.parse(file).name
}

/** Kysely's own provider skips a file whose `up` is misspelt, in silence. */
export async function loadMigrations({
  folder = FOLDER,
  notice,
}: MigrationOptions): Promise<Record<string, ProjectMigration>> {
  const migrations: Record<string, ProjectMigration> = {}
  const files = await migrationFiles(folder)
  for (const file of files) {
    const loading: Promise<Partial<ProjectMigration>> = import(path.join(folder, file))
    const module = await loading.catch((cause) => {
      throw new MigrationError(`migrations/${file} cannot be loaded`, { cause })
    })
    const { up, down, transaction = true, isApplied, replaces = [] } = module
    if (typeof up !== 'function') throw new MigrationError(`migrations/${file} exports no function named up`)
    const name = nameOf(file)
    if (replaces.length > 0) refuseSquashed(name, replaces, files.map(nameOf))
    const cannotTell = (cause: unknown) => {
      throw new MigrationError(`migrations/${file} cannot tell whether it is applied`, { cause })
    }
    const guarded = (run: Migration['up'], empty: () => void) =>
      (transaction ? inTransaction : concurrently)(async (db) => {
        if (!(await sends(db, failing(run)))) empty()
      })
    migrations[name] = {
      transaction,
      ...(replaces.length > 0 && { replaces }),
      ...(isApplied && { isApplied: (db) => failing(isApplied)(db).catch(cannotTell) }),
      up: guarded(up, () => {
        throw new EmptyMigrationError(file)
      }),
      // Kysely allows it: what cannot be undone, or need not be.
      down: guarded(down ?? irreversible(file), () =>
        notice?.(`the down of migrations/${file} is empty: nothing is undone`),
      ),
    }
  }
  return migrations
}

/** Kysely and its CLI take an error that is falsy for none. Others say what to do, where they can. */
function failing<D, T>(run: (db: D) => Promise<T>): (db: D) => Promise<T> {
  return async (db) => {
    try {
      return await run(db)
    } catch (err) {
      throw err ? explained(err) : new Error(`It threw ${err}`)
    }
  }
}

/** Kysely skips a migration without `down` on the way down and leaves it recorded. */
function irreversible(file: string): Migration['up'] {
  return async () => {
    throw new Error(`migrations/${file} exports no function named down: it cannot be undone`)
  }
}
