import type pg from 'pg'
import type { Connected, ServerOptions, Use } from './options.ts'

/** What turns off each parameter that a pooler may refuse and the service can do without. */
const SETTINGS: Record<string, string> = {
  statement_timeout: 'DATABASE_STATEMENT_TIMEOUT_MS=0',
  idle_in_transaction_session_timeout: 'DATABASE_IDLE_TRANSACTION_TIMEOUT_MS=0',
}

/** A wrong password, role or database. The text does not say which of the two URLs had it. */
const REFUSED = /^(28P01|28000|3D000)$/
const MIGRATION_URL = 'over DATABASE_MIGRATION_URL, or what stands in for it'

/** Of a certificate: nobody who is trusted signed it. Many providers have an authority of their own. */
const UNSIGNED = /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_(VERIFY_LEAF|GET_ISSUER)\w+)$/

/** What the connection is for, and how its settings say a parameter of TLS. */
interface Cures {
  use: Use
  set(parameter: string): string
}

/**
 * A client that connects with the options of now, because pg's pool gives each client the options that it was made with.
 * `present` reads those of now, `initial` are those that the pool got. An option that the pool or the health check has
 * added or changed stays. An error of connecting says which setting cures it.
 */
export function presentClient(
  Client: typeof pg.Client,
  initial: ServerOptions,
  present: () => ServerOptions,
  cures: Cures,
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
      if (!done) return super.connect().catch((err) => Promise.reject(withCure(err, cures)))
      const opened = (err: Error | null, client: pg.Client) => done(err && withCure(err, cures), client)
      return super.connect(opened as Connected) as unknown as Promise<pg.Client>
    }
  }
}

function withCure(err: Error, cures: Cures): Error {
  const cure = cureOf(err as pg.DatabaseError, cures)
  if (cure) err.message += ` (${cure})`
  return err
}

function cureOf({ code, message }: pg.DatabaseError, { use, set }: Cures): string | undefined {
  if (/does not support SSL/.test(message)) return `give it TLS, or trust the network and set ${set('sslmode=disable')}`
  if (UNSIGNED.test(code as string)) return `name the file of the authority that signed it: ${set('sslrootcert=FILE')}`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `connect to a name that it is for, or set ${set('sslmode=verify-ca')}, which takes an authority of your own`
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
