import type pg from 'pg'

/** The settings whose parameters a pooler may refuse, and that a service can do without. */
const SETTINGS: Record<string, string> = {
  statement_timeout: 'DATABASE_STATEMENT_TIMEOUT_MS=0',
  idle_in_transaction_session_timeout: 'DATABASE_IDLE_TRANSACTION_TIMEOUT_MS=0',
}

/** No such password, role or database: the service's own connection would be refused with the same words. */
const REFUSED = /^(28P01|28000|3D000)$/
const MIGRATION_URL = 'over DATABASE_MIGRATION_URL, or what stands in for it'

type Connected = ((err: Error) => void) | ((err: null, client: pg.Client) => void)

/**
 * A client that connects as the settings say by then, whatever it is given: pg's pool gives each client the options that
 * were right when it was made. `present` are those of now, `initial` those that the pool has got; what the pool or the
 * health check has added or changed stays. The error of a connection says which setting cures it.
 */
export function presentClient(
  Client: typeof pg.Client,
  initial: pg.ClientConfig,
  present: () => pg.ClientConfig,
  use: 'service' | 'migration',
): typeof pg.Client {
  const before: Record<string, unknown> = { ...initial }
  return class PresentClient extends Client {
    constructor(given: pg.ClientConfig) {
      const own = Object.entries(given).filter(([option, value]) => value !== before[option])
      super({ ...present(), ...Object.fromEntries(own) })
    }

    // With a callback it calls back in the same tick, because pg-pool then listens before the next message is read.
    override connect(callback?: Connected): Promise<pg.Client> {
      const done = callback as ((err: Error | null, client: pg.Client) => void) | undefined
      if (!done) return super.connect().catch((err) => Promise.reject(withCure(err, use)))
      const opened = (err: Error | null, client: pg.Client) => done(err && withCure(err, use), client)
      return super.connect(opened as Connected) as unknown as Promise<pg.Client>
    }
  }
}

function withCure(err: Error, use: 'service' | 'migration'): Error {
  const cure = cureOf(err as pg.DatabaseError, use)
  if (cure) err.message += ` (${cure})`
  return err
}

function cureOf({ code, message }: pg.DatabaseError, use: 'service' | 'migration'): string | undefined {
  const hasNone = /client password must be/.test(message)
  if (use === 'migration' && (hasNone || REFUSED.test(code as string))) return MIGRATION_URL
  if (hasNone) return 'DATABASE_URL, POSTGRES_PASSWORD and PGPASSWORD have none'
  const refused = /unsupported .*startup parameter.*: (\w+)/.exec(message)
  if (!refused) return undefined
  if (use === 'migration') return 'DATABASE_MIGRATION_URL must lead to the server itself, not to a pooler'
  const setting = SETTINGS[refused[1] as string]
  return setting
    ? `set ${setting}`
    : 'DATABASE_URL or DATABASE_SCHEMA asks for it: leave it out, and let the role have it'
}
