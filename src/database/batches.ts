import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import {
  type Migration,
  type MigrationInfo,
  type MigrationResultSet,
  Migrator,
  type MigratorProps,
  NO_MIGRATIONS,
  type NoMigrations,
} from 'kysely/migration'
import { backoff } from '../retry.ts'

const LOCK_NOT_AVAILABLE = '55P03'
/** A batch that a busy table kept out is tried again this often; each try waits `MIGRATION_LOCK_TIMEOUT_MS`. */
const LOCK_ATTEMPTS = 5

/** `transaction: false`: alone, outside a transaction. */
export interface BatchMigration extends Migration {
  transaction: boolean
}

export interface BatchProps {
  db: MigratorProps['db']
  provider: { getMigrations(): Promise<Record<string, BatchMigration>> }
  /** The names of those applied, in their order. */
  applied(db: MigratorProps['db']): Promise<string[]>
  /** Told when a batch is about to be tried again. */
  retrying?: ((migration: string | undefined, attempt: number) => void) | undefined
  signal?: AbortSignal | undefined
}

interface Plan {
  direction: 'up' | 'down'
  names: string[]
}

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
    const applied = await this.#props.applied(this.#props.db)
    const unknown = applied.filter((name) => !known.some((migration) => migration.name === name))
    const migration = {} as Migration // to be listed; nothing runs it
    return [
      ...known,
      ...unknown.map((name) => ({ name: `${name} (unknown: no such file)`, executedAt: new Date(0), migration })),
    ]
  }

  override migrateToLatest(): Promise<MigrationResultSet> {
    return this.#migrate((_, pending) => ({ direction: 'up', names: pending }))
  }

  override migrateUp(): Promise<MigrationResultSet> {
    return this.#migrate((_, pending) => ({ direction: 'up', names: pending.slice(0, 1) }))
  }

  override migrateDown(): Promise<MigrationResultSet> {
    return this.#migrate((applied) => ({ direction: 'down', names: applied.slice(-1) }))
  }

  override migrateTo(target: string | NoMigrations): Promise<MigrationResultSet> {
    return this.#migrate((applied, pending) => {
      if (pending.includes(target as string)) {
        return { direction: 'up', names: pending.slice(0, pending.indexOf(target as string) + 1) }
      }
      if (target !== NO_MIGRATIONS && !applied.includes(target as string)) {
        throw new Error(`There is no migration ${target}`)
      }
      return { direction: 'down', names: applied.slice(applied.indexOf(target as string) + 1).reverse() }
    })
  }

  async #migrate(plan: (applied: string[], pending: string[]) => Plan): Promise<MigrationResultSet> {
    try {
      return await this.#props.db.connection().execute(async (db) => {
        // Kysely takes the same lock again for each batch: a session may hold it more than once.
        const { adapter } = db.getExecutor()
        const lock = { lockTable: '', lockRowId: '' }
        await adapter.acquireMigrationLock(db, lock)
        try {
          return await this.#run(db, plan)
        } finally {
          await adapter.releaseMigrationLock(db, lock)
        }
      })
    } catch (error) {
      return { error }
    }
  }

  async #run(db: Kysely<unknown>, plan: (applied: string[], pending: string[]) => Plan): Promise<MigrationResultSet> {
    const migrations = await this.#props.provider.getMigrations()
    const applied = await this.#props.applied(db)
    const { direction, names } = plan(
      applied,
      Object.keys(migrations)
        .filter((name) => !applied.includes(name))
        .sort(),
    )
    const results = []
    for (let from = 0, to = 0; from < names.length; from = to) {
      const { transaction = true } = migrations[names[from] as string] ?? {}
      to = names.findIndex((name, index) => index > from && !(transaction && migrations[name]?.transaction))
      if (to === -1) to = names.length
      const last = names[to - 1] as string
      const target = direction === 'up' ? last : (applied[applied.indexOf(last) - 1] ?? NO_MIGRATIONS)
      const batch = await this.#batch(db, target, !transaction)
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
    const migrator = new Migrator({ ...this.#props, db })
    for (let attempt = 1; ; attempt++) {
      const batch = await migrator.migrateTo(target, { disableTransactions })
      const { code } = (batch.error ?? {}) as { code?: string }
      if (code !== LOCK_NOT_AVAILABLE) return batch
      if (attempt === LOCK_ATTEMPTS) {
        return { ...batch, error: new Error(`A table stayed locked, ${attempt} times`, { cause: batch.error }) }
      }
      this.#props.retrying?.(batch.results?.find(({ status }) => status === 'Error')?.migrationName, attempt)
      await sleep(backoff(attempt), undefined, this.#props.signal && { signal: this.#props.signal })
    }
  }
}
