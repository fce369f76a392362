import {
  type DatabaseConnection,
  type Driver,
  PostgresDialect,
  type PostgresDialectConfig,
  PostgresDriver,
  type TransactionSettings,
} from 'kysely'
import { Opening } from './opening.ts'

/** Kysely's own, whose BEGIN travels with the first statement. COMMIT goes alone, so that its outcome is its own. */
export class ServiceDialect extends PostgresDialect {
  readonly #config: PostgresDialectConfig

  constructor(config: PostgresDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): Driver {
    return new ServiceDriver(this.#config)
  }
}

type Options = Parameters<PostgresDriver['acquireConnection']>[0]
type PostgresConnection = Parameters<PostgresDriver['rollbackTransaction']>[0]

class ServiceDriver extends PostgresDriver {
  readonly #openings = new WeakMap<DatabaseConnection, Opening>()

  override async acquireConnection(options?: Options): Promise<DatabaseConnection> {
    const connection = await super.acquireConnection(options)
    const opening = this.#openings.get(connection)
    if (opening) opening.forget()
    else this.#openings.set(connection, new Opening(connection))
    return connection
  }

  override async beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    this.#of(connection).begin()
    await super.beginTransaction(connection, settings)
  }

  override async commitTransaction(connection: DatabaseConnection): Promise<void> {
    const opening = this.#of(connection)
    await opening.flushed()
    opening.throwFailure()
    if (opening.isHeld) return opening.forget()
    await super.commitTransaction(connection)
    // Of a statement that the callback did not wait for.
    opening.throwFailure()
  }

  /** After a BEGIN that failed it tells whether the connection is lost. */
  override async rollbackTransaction(connection: PostgresConnection): Promise<void> {
    const opening = this.#of(connection)
    await opening.flushed()
    if (opening.isHeld) opening.forget()
    else await opening.rollback(() => super.rollbackTransaction(connection))
  }

  #of(connection: DatabaseConnection): Opening {
    return this.#openings.get(connection) as Opening
  }
}
