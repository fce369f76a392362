/** A migration cannot be loaded, or the schema is not what this code needs: waiting will not change that. */
export class MigrationError extends Error {
  readonly code = 'MIGRATION_FAILED'
}
