/**
 * Told about the wait for another replica's lock or a table's, each migration with its duration in milliseconds, and
 * what the server has to say of one (`raise notice`).
 */
export interface MigrationEvents {
  waiting?(): void
  locked?(): void
  adopted?(name: string): void
  retrying?(migration: string, attempt: number): void
  applied?(name: string, durationMs: number): void
  notice?(message: string | undefined): void
}

export interface MigrationOptions extends MigrationEvents {
  /** The project's migrations/ unless given. */
  folder?: string | undefined
  /** Of the service's tables; the first one of the role's search_path unless given. */
  schema?: string | undefined
  /** Ends every wait, and cuts the connection: PostgreSQL rolls back. */
  signal?: AbortSignal | undefined
  /** What to do where a migration fails, for the message: another way than to repair it. */
  wayOut?: string | undefined
  /** How long another process's migrations are waited for. */
  lockWaitMs?: number
}
