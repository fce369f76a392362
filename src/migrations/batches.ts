import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
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
import { backoff } from '../core/retry.ts'
import { MigrationError } from './errors.ts'
import { withMigrationLock } from './lock.ts'
import type { MigrationOptions } from './options.ts'
import { appliedMigrations, migrationTable, prepareTables, schemaOf } from './tables.ts'

const LOCK_NOT_AVAILABLE = '55P03'
/** A batch that waits in vain for a busy table is tried this often; each try waits `MIGRATION_LOCK_TIMEOUT_MS`. */
const LOCK_ATTEMPTS = 5

export interface BatchMigration extends Migration {
  /** False: alone, outside a transaction. */
  transaction: boolean
  /**
   * Whether an earlier release's migration has done this already. It is then recorded in its place and not run: its
   * name sorts before those that the database has had since, which Kysely refuses.
   */
  isApplied?(db: Kysely<unknown>): Promise<boolean>
}

interface BatchProps extends MigrationOptions {
  db: MigratorProps['db']
  provider: { getMigrations(): Promise<Record<string, BatchMigration>> }
}

/** The names of those to run, in their order: pending ones go up, applied ones down. */
type Plan = (applied: string[], pending: string[]) => string[]

/**
 * Kysely's migrator wraps all that it runs in one transaction, or nothing (kysely issue 1173). This one cuts the work
 * into batches under one lock, each in a transaction of its own or outside of any, and repeats a batch that a locked
 * table kept out. The batches can go when Kysely lets a migration opt out of the transaction.
 */
export class BatchMigrator extends Migrator {
  readonly #props: BatchProps

  constructor(props: BatchProps) {
    super(props)
    this.#props = props
  }

  /** The folder's migrations, then applied ones without a file, marked as unknown. */
  override async getMigrations(): Promise<readonly MigrationInfo[]> {
    const migrationTableSchema = await schemaOf(this.#props.db, this.#props.schema)
    const known = await new Migrator({ ...this.#props, migrationTableSchema }).getMigrations()
    const applied = await appliedMigrations(this.#props.db, migrationTableSchema)
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
    const schema = await schemaOf(db, this.#props.schema)
    await prepareTables(db, schema)
    await this.#adopt(db, schema, migrations)
    const applied = await appliedMigrations(db, schema)
    const pending = Object.keys(migrations)
      .filter((name) => !applied.includes(name))
      .sort()
    const names = plan(applied, pending)
    const unknown = applied.filter((name) => !(name in migrations))
    if (unknown.length > 0 && names.some((name) => pending.includes(name)))
      throw new MigrationError(foreign(schema, unknown))
    const alone = (name: string) => migrations[name]?.transaction === false
    const results: MigrationResult[] = []
    for (const [index, name] of names.entries()) {
      const next = names[index + 1]
      if (next !== undefined && !alone(name) && !alone(next)) continue // the batch goes on
      const target = pending.includes(name) ? name : (applied[applied.indexOf(name) - 1] ?? NO_MIGRATIONS)
      const batch = await this.#batch(db, schema, target, alone(name))
      results.push(...(batch.results ?? []))
      if (batch.error) return { error: batch.error, results }
    }
    return { results }
  }

  /** Records what an earlier release has done under another name, each at the time of the one before it. */
  async #adopt(db: Kysely<unknown>, schema: string, migrations: Record<string, BatchMigration>): Promise<void> {
    const applied = await appliedMigrations(db, schema)
    const table = migrationTable(schema)
    let before: string | undefined
    for (const [name, { isApplied }] of Object.entries(migrations)) {
      const isAdopted = before !== undefined && isApplied && !applied.includes(name) && (await isApplied(db))
      if (isAdopted) {
        await sql`
          insert into ${table} select ${name}, timestamp from ${table} where name = ${before}`.execute(db)
        this.#props.adopted?.(name)
      }
      if (isAdopted || applied.includes(name)) before = name
    }
  }

  async #batch(
    db: Kysely<unknown>,
    migrationTableSchema: string,
    target: string | NoMigrations,
    disableTransactions: boolean,
  ): Promise<MigrationResultSet> {
    const { retrying, signal } = this.#props
    const migrator = new Migrator({ ...this.#props, db, migrationTableSchema })
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

function foreign(schema: string, unknown: string[]): string {
  return (
    `Schema ${schema} has another service's migrations, or those of another version, for which there is no file here: ` +
    `${unknown.join(', ')}. A service of its own takes a schema of its own, by DATABASE_SCHEMA`
  )
}
