import { readdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import path from 'node:path'
import { type PostgresDialect, type QueryExecutorProvider, sql } from 'kysely'
import type { Migration, MigrationProvider, Migrator, MigratorProps } from 'kysely/migration'
import pg from 'pg'
import type { Config } from '../config.ts'
import { type BatchMigration, BatchMigrator } from './batches.ts'
import { concurrently } from './concurrently.ts'
import { connectionOptions } from './connection.ts'
import { MigrationDialect } from './migration-lock.ts'

const FOLDER = path.join(import.meta.dirname, '../../migrations')

/**
 * Told about the wait for another replica's lock or a table's, each migration with its duration in milliseconds, and
 * what the server has to say of one (`raise notice`).
 */
export interface MigrationEvents {
  waiting?(): void
  locked?(): void
  retrying?(migration: string | undefined, attempt: number): void
  applied?(name: string, direction: 'up' | 'down', durationMs: number): void
  notice?(message: string | undefined): void
}

/** Applied ones in their order, pending ones, and `unknown`: applied, but no file of this code has that name. */
export interface MigrationState {
  applied: string[]
  pending: string[]
  unknown: string[]
}

/** The one migrator, of boot and CLI: the same folder, tables, lock and rules, whichever runs first. */
export function createMigrator(
  db: MigratorProps['db'],
  events: MigrationEvents = {},
  signal?: AbortSignal,
  folder = FOLDER,
): Migrator {
  const provider = new FolderProvider(folder, events)
  return new BatchMigrator({ db, provider, applied: appliedMigrations, retrying: events.retrying, signal })
}

/**
 * Kysely's dialect over the direct connection of the role that owns the schema.
 * When the signal aborts the connection is cut, and PostgreSQL rolls back.
 * `lockWaitMs`: how long another process's migrations are waited for.
 */
export function migrationDialect(
  config: Config,
  events: MigrationEvents = {},
  signal?: AbortSignal,
  lockWaitMs?: number,
): PostgresDialect {
  const base = connectionOptions(config, 'migration')
  const pool = new pg.Pool({
    stream: () => {
      const socket = new Socket()
      signal?.addEventListener('abort', () => socket.destroy())
      return socket
    },
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
    client.on('notice', ({ message }) => events.notice?.(message))
  })
  return new MigrationDialect({ pool }, { events, signal, waitMs: lockWaitMs })
}

/** Compares the migrations folder with the database. Takes no lock and writes nothing. */
export async function migrationState(db: QueryExecutorProvider, folder = FOLDER): Promise<MigrationState> {
  const files = (await migrationFiles(folder)).map(nameOf)
  const applied = await appliedMigrations(db)
  return {
    applied,
    pending: files.filter((name) => !applied.includes(name)),
    unknown: applied.filter((name) => !files.includes(name)),
  }
}

async function appliedMigrations(db: QueryExecutorProvider): Promise<string[]> {
  try {
    const { rows } = await sql<{ name: string }>`select name from kysely_migration order by timestamp, name`.execute(db)
    return rows.map(({ name }) => name)
  } catch (err) {
    if ((err as { code?: string }).code === '42P01') return [] // no such table: nothing was ever applied
    throw err
  }
}

/** Throws for a file that is none: a misnamed migration must not be skipped in silence. */
async function migrationFiles(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((file) => !file.startsWith('.')).sort()
  const other = files.find((file) => !/^\d{14}_[\w-]+\.[jt]s$/.test(file))
  if (other) throw new MigrationError(`migrations/${other} is not named <UTC timestamp>_<what_it_does>.ts`)
  return files
}

/** A migration cannot be loaded, or the schema is not what this code needs: waiting will not change that. */
export class MigrationError extends Error {
  readonly code = 'MIGRATION_FAILED'
}

async function load(folder: string, file: string): Promise<Partial<BatchMigration>> {
  try {
    return await import(path.join(folder, file))
  } catch (cause) {
    throw new MigrationError(`migrations/${file} cannot be loaded`, { cause })
  }
}

function nameOf(file: string): string {
  return path.parse(file).name
}

/** Kysely's own provider skips a file whose `up` is misspelt, in silence. */
class FolderProvider implements MigrationProvider {
  readonly #folder: string
  readonly #events: MigrationEvents

  constructor(folder: string, events: MigrationEvents) {
    this.#folder = folder
    this.#events = events
  }

  async getMigrations(): Promise<Record<string, BatchMigration>> {
    const migrations: Record<string, BatchMigration> = {}
    for (const file of await migrationFiles(this.#folder)) {
      const { up, down, transaction = true } = await load(this.#folder, file)
      if (typeof up !== 'function') throw new MigrationError(`migrations/${file} exports no function named up`)
      const name = nameOf(file)
      const guarded = transaction ? (run: Migration['up']) => run : concurrently
      migrations[name] = {
        transaction,
        up: this.#timed(name, 'up', guarded(up)),
        down: this.#timed(name, 'down', guarded(down ?? irreversible(file))),
      }
    }
    return migrations
  }

  #timed(name: string, direction: 'up' | 'down', run: Migration['up']): Migration['up'] {
    return async (db) => {
      const started = performance.now()
      await run(db)
      this.#events.applied?.(name, direction, Math.round(performance.now() - started))
    }
  }
}

/** Kysely skips a migration without `down` on the way down and leaves it recorded. */
function irreversible(file: string): Migration['up'] {
  return async () => {
    throw new Error(`migrations/${file} exports no function named down: it cannot be undone`)
  }
}
