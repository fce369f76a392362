/** Why a check failed, as an answer may say it. The log has the rest. */
export const REASONS = ['timeout', 'refused', 'unreachable', 'auth', 'limit', 'readonly', 'loading', 'error'] as const
export type Reason = (typeof REASONS)[number]

/**
 * PostgreSQL's SQLSTATEs (Appendix A of its manual), Node's system and TLS error codes, Redis' error prefixes.
 * `permanent`: no retry can cure it, so boot gives up.
 */
const CODES: Record<string, { reason: Reason; permanent?: true }> = {
  ECONNREFUSED: { reason: 'refused' },
  ECONNRESET: { reason: 'refused' },
  EPIPE: { reason: 'refused' },
  ENOENT: { reason: 'refused' },
  '57P01': { reason: 'refused' },
  '57P02': { reason: 'refused' },
  '08006': { reason: 'refused' },
  EHOSTUNREACH: { reason: 'unreachable' },
  ENETUNREACH: { reason: 'unreachable' },
  ENOTFOUND: { reason: 'unreachable' },
  EAI_AGAIN: { reason: 'unreachable' },
  ETIMEDOUT: { reason: 'timeout' },
  TimeoutError: { reason: 'timeout' },
  '53300': { reason: 'limit' },
  '53200': { reason: 'limit' },
  // Of one statement, not of the database, whatever "timeout" its message says: cancelled, and no lock in time.
  '57014': { reason: 'error' },
  '55P03': { reason: 'error' },
  '25006': { reason: 'readonly' },
  READONLY: { reason: 'readonly' },
  '57P03': { reason: 'loading' },
  LOADING: { reason: 'loading' },
  // PgBouncer, of a startup parameter that it does not know: DATABASE_STATEMENT_TIMEOUT_MS must be 0.
  '08P01': { reason: 'error', permanent: true },
  '28P01': { reason: 'auth', permanent: true },
  '28000': { reason: 'auth', permanent: true },
  '42501': { reason: 'auth', permanent: true },
  WRONGPASS: { reason: 'auth' },
  NOAUTH: { reason: 'auth' },
  NOPERM: { reason: 'auth' },
  CLUSTERDOWN: { reason: 'unreachable' },
  MIGRATION_FAILED: { reason: 'error', permanent: true },
  '3D000': { reason: 'error', permanent: true },
}

/** What pg, pg-pool, Kysely and ioredis say without a code. */
const MESSAGES: [RegExp, Reason, permanent?: true][] = [
  [/client password must be a (non-empty )?string/, 'auth', true],
  [/does not support SSL connections/, 'error', true],
  [/^(Query read|Socket) timeout|^timeout (exceeded|expired)|^Command timed out|due to connection timeout$/, 'timeout'],
  [
    /^Connection terminated|Connection is closed|connection error and is not queryable|connection has been discarded/,
    'refused',
  ],
  [/max number of clients reached/, 'limit'],
  [/^All sentinels are unreachable/, 'unreachable'],
]

const SQLSTATE = /^[0-9A-Z]{5}$/

function classify(err: unknown): { reason: Reason; permanent?: true | undefined } {
  const { code, name, message = '' } = (err ?? {}) as { code?: unknown; name?: string; message?: string }
  const known = CODES[String(code)] ?? CODES[String(name)] ?? CODES[message.split(' ', 1)[0] as string]
  if (known) return known
  // OpenSSL's verification codes as Node gives them (its tls documentation lists them).
  if (/CERT|UNABLE_TO_VERIFY/.test(String(code))) return { reason: 'error', permanent: true }
  // What a SQLSTATE has said, the words of its message (a column's name, say) cannot unsay.
  if (typeof code === 'string' && SQLSTATE.test(code)) return { reason: 'error' }
  const said = MESSAGES.find(([pattern]) => pattern.test(message))
  return said ? { reason: said[1], permanent: said[2] } : { reason: 'error' }
}

/** The reason, out of the closed list, for an error of a backend's driver. */
export function reasonOf(err: unknown): Reason {
  return classify(err).reason
}

/** Whether waiting cannot cure it: wrong password, no such database, a certificate that does not verify. */
export function isPermanent(err: unknown): boolean {
  return classify(err).permanent === true
}

/** What of a driver's error may be logged. ioredis keeps the command in its errors, and with it the password. */
export function redact(err: unknown): { code?: string | undefined; message: string } {
  const { code, message } = (err ?? {}) as { code?: unknown; message?: string }
  return { code: typeof code === 'string' ? code : undefined, message: message ?? String(err) }
}
