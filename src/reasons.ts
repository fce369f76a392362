/** Why a check failed, as an answer may say it. The log has the rest. */
export const REASONS = ['timeout', 'refused', 'unreachable', 'auth', 'limit', 'readonly', 'loading', 'error'] as const
export type Reason = (typeof REASONS)[number]

/** PostgreSQL's SQLSTATEs (Appendix A of its manual), Node's system error codes, Redis' error prefixes. */
const CODES: [Reason, string[]][] = [
  ['refused', ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', '57P01', '57P02', '08006']],
  ['unreachable', ['EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'CLUSTERDOWN']],
  ['timeout', ['ETIMEDOUT', 'TimeoutError']],
  ['auth', ['28P01', '28000', '42501', 'WRONGPASS', 'NOAUTH', 'NOPERM']],
  ['limit', ['53300', '53200']],
  ['readonly', ['25006', 'READONLY']],
  ['loading', ['57P03', 'LOADING']],
]
const REASON_OF = new Map(CODES.flatMap(([reason, codes]) => codes.map((code) => [code, reason] as const)))

/** What pg, pg-pool, Kysely and ioredis say without a code. */
const MESSAGES: [Reason, RegExp][] = [
  ['auth', /client password must be a (non-empty )?string/],
  ['timeout', /^(Query read|Socket) timeout|^timeout (exceeded|expired)|^Command timed out|due to connection timeout$/],
  ['refused', /^Connection terminated|Connection is closed|connection (error and is not queryable|has been discarded)/],
  ['limit', /max number of clients reached/],
  ['unreachable', /^All sentinels are unreachable/],
]

/** What no retry can cure, so that boot gives up: codes, and messages that come without one. */
const PERMANENT = [
  /^(28P01|28000|42501|3D000|MIGRATION_FAILED)$/,
  // PgBouncer, of a startup parameter that it does not know: DATABASE_STATEMENT_TIMEOUT_MS must be 0.
  /^08P01$/,
  // OpenSSL's verification codes as Node gives them (its tls documentation lists them).
  /^\w*(CERT|UNABLE_TO_VERIFY)\w*$/,
  /client password must be a (non-empty )?string|does not support SSL connections/,
]

/** The reason, out of the closed list, for an error of a backend's driver. */
export function reasonOf(err: unknown): Reason {
  const { code = '', message } = redact(err)
  const known = REASON_OF.get(code)
  // What a SQLSTATE has said, the words of its message ("timeout", say) cannot unsay.
  if (known || /^[0-9A-Z]{5}$/.test(code)) return known ?? 'error'
  const said = REASON_OF.get(Object(err).name) ?? REASON_OF.get(message.split(' ', 1)[0] as string)
  return said ?? MESSAGES.find(([, pattern]) => pattern.test(message))?.[0] ?? 'error'
}

/** Whether waiting cannot cure it: wrong password, no such database, a certificate that does not verify. */
export function isPermanent(err: unknown): boolean {
  const { code, message } = redact(err)
  return PERMANENT.some((pattern) => pattern.test(code ?? message))
}

/** What of a driver's error may be logged. ioredis keeps the command in its errors, and with it the password. */
export function redact(err: unknown): { code?: string | undefined; message: string } {
  const { code, message } = (err ?? {}) as { code?: unknown; message?: string }
  return { code: typeof code === 'string' ? code : undefined, message: message ?? String(err) }
}
