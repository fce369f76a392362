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
import { step } from '../core/steps.ts'
import { failed } from './errors.ts'
import { withMigrationLock } from './lock.ts'
import { isReplacedBy, pendingOf, refuseLate, refuseUnknown } from './names.ts'
import type { MigrationOptions } from './options.ts'
import { appliedMigrations, migrationTable, prepareTables, schemaOf } from './tables.ts'

const LOCK_NOT_AVAILABLE = '55P03'
/** A migration that waits in vain for a busy table is tried this often; each try waits `MIGRATION_LOCK_TIMEOUT_MS`. */
const LOCK_ATTEMPTS = 5

export interface ProjectMigration extends Migration {
  /** False: outside a transaction. */
  transaction: boolean
  /**
   * Whether an earlier release's migration has done this already. It is then recorded in its place and not run: its
   * name sorts before those that the database has had since, which Kysely refuses.
   */
  isApplied?(db: Kysely<unknown>): Promise<boolean>
  /** The names of those that it was squashed of. Where all are applied it is recorded in their place, and not run. */
  replaces?: string[]
}

type Migrations = Record<string, ProjectMigration>

interface RunnerProps extends MigrationOptions {
  db: MigratorProps['db']
  provider: { getMigrations(): Promise<Migrations> }
}

/** The names of the migrations to run, in their order. Pending ones go up, applied ones down. */
type Plan = (applied: string[], pending: string[]) => string[]

/**
 * Kysely's migrator wraps all that it runs in one transaction, or nothing (kysely issue 1173). What works file by file
 * in development, such as a new value of an enum that the next file uses, then fails in production, where both are
 * pending. This one holds one lock, gives each migration a transaction of its own, or none, and repeats one that a
 * locked table kept out. It can go when Kysely does that.
 */
export class MigrationRunner extends Migrator {
  readonly #props: RunnerProps

  constructor(props: RunnerProps) {
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
    const pending = pendingOf(Object.keys(migrations), applied)
    const unknown = applied.filter((name) => !(name in migrations))
    const planned = plan(applied, pending)
    const known = [...applied, ...planned]
    if (unknown.length === 0 && planned.some((name) => pending.includes(name))) refuseLate(applied, pending)
    const results: MigrationResult[] = planned.map((migrationName) => {
      return { migrationName, direction: pending.includes(migrationName) ? 'Up' : 'Down', status: 'NotExecuted' }
    })
    if (results.length > 0) refuseUnknown(unknown, schema)
    // A file that is older than an applied one keeps none from being undone.
    const those = Object.fromEntries(Object.entries(migrations).filter(([name]) => known.includes(name)))
    const provider = { getMigrations: async () => those }
    const migrator = new Migrator({ ...this.#props, db, migrationTableSchema: schema, provider })
    for (const [index, { migrationName: name, direction }] of results.entries()) {
      const target = direction === 'Up' ? name : (applied[applied.indexOf(name) - 1] ?? NO_MIGRATIONS)
      const { error, results: [result] = [] } = await this.#one(migrator, name, target, migrations[name]?.transaction)
      if (result) results[index] = result
      if (error) return { error: result ? failed(result, index, error, this.#props.wayOut) : error, results }
    }
    return { results }
  }

  /**
   * Records what an earlier release has done under another name, each at the time of the one before it; and what was
   * squashed, in the place of its parts.
   */
  async #adopt(db: Kysely<unknown>, schema: string, migrations: Migrations): Promise<void> {
    const applied = await appliedMigrations(db, schema)
    const table = migrationTable(schema)
    let before: string | undefined
    for (const [name, { isApplied, replaces }] of Object.entries(migrations)) {
      const isNew = !applied.includes(name)
      const isReplaced = isNew && replaces !== undefined && isReplacedBy(name, replaces, applied)
      const isAdopted = isReplaced || (isNew && before !== undefined && isApplied && (await isApplied(db)))
      if (isAdopted) {
        const of = isReplaced ? replaces : [before]
        // One statement: all of it or nothing.
        await sql`
          with gone as (delete from ${table} where ${sql.lit(isReplaced)} and name in (${sql.join(of)}))
          insert into ${table} select ${name}, max(timestamp) from ${table} where name in (${sql.join(of)})`.execute(db)
        this.#props.adopted?.(name)
      }
      if (isAdopted || applied.includes(name)) before = name
    }
  }

  /** Runs the one migration that lies between the database and the target. */
  async #one(
    migrator: Migrator,
    name: string,
    target: string | NoMigrations,
    transaction: boolean | undefined,
    attempt = 1,
  ): Promise<MigrationResultSet> {
    const { applied, retrying, signal } = this.#props
    const started = performance.now()
    const set = await step('migrate', { 'migration.name': name }, () =>
      migrator.migrateTo(target, { disableTransactions: transaction === false }),
    )
    if (!set.error && target === name) applied?.(name, Math.round(performance.now() - started))
    if (Object(set.error).code !== LOCK_NOT_AVAILABLE) return set
    if (attempt === LOCK_ATTEMPTS) {
      return { ...set, error: new Error(`A table stayed locked, ${attempt} times`, { cause: set.error }) }
    }
    retrying?.(name, attempt)
    await sleep(backoff(attempt), undefined, signal && { signal })
    return this.#one(migrator, name, target, transaction, attempt + 1)
  }
}
