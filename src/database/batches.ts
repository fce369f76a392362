import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, type QueryExecutorProvider, sql } from 'kysely'
import {
  type Migration,
  type MigrationInfo,
  type MigrationResult,
  type MigrationResultSet,
  Migrator,
  type MigratorProps,
  NO_MIGRATIONS,
  type NoMigrations,
} from 'kysely/migration'
import { backoff } from '../retry.ts'
import { withMigrationLock } from './migration-lock.ts'
import type { MigrationOptions } from './migrator.ts'

const LOCK_NOT_AVAILABLE = '55P03'
/** A batch that a busy table kept out is tried again this often; each try waits `MIGRATION_LOCK_TIMEOUT_MS`. */
const LOCK_ATTEMPTS = 5

/** `transaction: false`: alone, outside a transaction. */
export interface BatchMigration extends Migration {
  transaction: boolean
}

interface BatchProps extends MigrationOptions {
  db: MigratorProps['db']
  provider: { getMigrations(): Promise<Record<string, BatchMigration>> }
}

/** The names of those to run, in their order: pending ones go up, applied ones down. */
type Plan = (applied: string[], pending: string[]) => string[]

/**
 * Kysely's migrator wraps all that it runs in one transaction, or nothing. This one cuts the work into batches, each in
 * a transaction of its own or outside of any, under one lock; and tries a batch again that a locked table kept out.
 */
export class BatchMigrator extends Migrator {
  readonly #props: BatchProps

  constructor(props: BatchProps) {
    super(props)
    this.#props = props
  }

  /** Those of the folder, and behind them, named so, those that are applied and have no file here. */
  override async getMigrations(): Promise<readonly MigrationInfo[]> {
    const known = await super.getMigrations()
    const applied = await appliedMigrations(this.#props.db)
    const unknown = applied.filter((name) => !known.some((migration) => migration.name === name))
    const migration = {} as Migration // to be listed; nothing runs it
    return [
      ...known,
      ...unknown.map((name) => ({ name: `${name} (unknown: no such file)`, executedAt: new Date(0), migration })),
    ]
  }

  override migrateToLatest(): Promise<MigrationResultSet> {
    return this.#migrate((_, pending) => pending)
  }

  override migrateUp(): Promise<MigrationResultSet> {
    return this.#migrate((_, pending) => pending.slice(0, 1))
  }

  override migrateDown(): Promise<MigrationResultSet> {
    return this.#migrate((applied) => applied.slice(-1))
  }

  override migrateTo(target: string | NoMigrations): Promise<MigrationResultSet> {
    const name = target as string
    return this.#migrate((applied, pending) => {
      if (pending.includes(name)) return pending.slice(0, pending.indexOf(name) + 1)
      if (target !== NO_MIGRATIONS && !applied.includes(name)) throw new Error(`There is no migration ${name}`)
      return applied.slice(applied.indexOf(name) + 1).reverse()
    })
  }

  async #migrate(plan: Plan): Promise<MigrationResultSet> {
    try {
      return await this.#props.db
        .connection()
        .execute((db) => withMigrationLock(db, this.#props, () => this.#run(db, plan)))
    } catch (error) {
      return { error }
    }
  }

  async #run(db: Kysely<unknown>, plan: Plan): Promise<MigrationResultSet> {
    const migrations = await this.#props.provider.getMigrations()
    const applied = await appliedMigrations(db)
    const pending = Object.keys(migrations)
      .filter((name) => !applied.includes(name))
      .sort()
    const names = plan(applied, pending)
    const alone = (name: string) => migrations[name]?.transaction === false
    const results: MigrationResult[] = []
    for (const [index, name] of names.entries()) {
      const next = names[index + 1]
      if (next !== undefined && !alone(name) && !alone(next)) continue // the batch goes on
      const target = pending.includes(name) ? name : (applied[applied.indexOf(name) - 1] ?? NO_MIGRATIONS)
      const batch = await this.#batch(db, target, alone(name))
      results.push(...(batch.results ?? []))
      if (batch.error) return { error: batch.error, results }
    }
    return { results }
  }

  async #batch(
    db: Kysely<unknown>,
    target: string | NoMigrations,
    disableTransactions: boolean,
  ): Promise<MigrationResultSet> {
    const { retrying, signal } = this.#props
    const migrator = new Migrator({ ...this.#props, db })
    for (let attempt = 1; ; attempt++) {
      const batch = await migrator.migrateTo(target, { disableTransactions })
      const { code } = (batch.error ?? {}) as { code?: string }
      if (code !== LOCK_NOT_AVAILABLE) return batch
      if (attempt === LOCK_ATTEMPTS) {
        return { ...batch, error: new Error(`A table stayed locked, ${attempt} times`, { cause: batch.error }) }
      }
      retrying?.(batch.results?.find(({ status }) => status === 'Error')?.migrationName, attempt)
      await sleep(backoff(attempt), undefined, signal && { signal })
    }
  }
}

/** The names of those applied, in their order. */
export async function appliedMigrations(db: QueryExecutorProvider): Promise<string[]> {
  try {
    const { rows } = await sql<{ name: string }>`select name from kysely_migration order by timestamp, name`.execute(db)
    return rows.map(({ name }) => name)
  } catch (err) {
    if ((err as { code?: string }).code === '42P01') return [] // no such table: nothing was ever applied
    throw err
  }
}
