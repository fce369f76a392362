/** Why a check failed, as an answer may say it. The log has the rest. */
export const REASONS = ['timeout', 'refused', 'unreachable', 'auth', 'limit', 'readonly', 'loading', 'error'] as const
export type Reason = (typeof REASONS)[number]

/** What the errors of a backend's driver mean. */
export interface ErrorReasons {
  /** By `code`, `name`, or the first word of the message. */
  codes?: { [R in Reason]?: string[] }
  /** For errors without a code, and for `CODE message` where the code is a vague one. */
  messages?: [Reason, RegExp][]
  /** Codes under which very different things are said, so that the message decides. */
  vague?: string[]
  /** The error that another one only reports, such as that of a command for the transaction that it was in. */
  causeOf?(err: unknown): unknown
  /** Codes that no retry can cure, so that boot gives up; or messages, as above. */
  permanent?: RegExp[]
}

const learnt = new Set<ErrorReasons>()
const reasonOfCode = new Map<string, Reason>()
const messages: [Reason, RegExp][] = []
const vague = new Set<string>()
const permanent: RegExp[] = []
const causes: ((err: unknown) => unknown)[] = []

/**
 * Adds a backend's errors, once, to those that `reasonOf` and `isPermanent` know. Of two messages that fit, the first
 * counts.
 */
export function learnReasons(reasons: ErrorReasons): void {
  if (learnt.has(reasons)) return
  learnt.add(reasons)
  for (const [reason, codes] of Object.entries(reasons.codes ?? {})) {
    for (const code of codes) reasonOfCode.set(code, reason as Reason)
  }
  messages.push(...(reasons.messages ?? []))
  for (const code of reasons.vague ?? []) vague.add(code)
  permanent.push(...(reasons.permanent ?? []))
  if (reasons.causeOf) causes.push(reasons.causeOf)
}

/** Node's own: system errors, which any connection can have, and files too. */
const NODES = {
  refused: ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', 'UND_ERR_SOCKET'],
  unreachable: ['EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'],
  timeout: ['ETIMEDOUT', 'TimeoutError'],
}
// UND_ERR_SOCKET is fetch's, of a connection that the other side ended. And OpenSSL's verification codes (Node's tls
// documentation lists them).
learnReasons({ codes: NODES, permanent: [/^\w*(CERT|UNABLE_TO_VERIFY)\w*$/] })

const ofBackends = new WeakSet<object>()

/** Says that it is an error of a backend of the service, which nothing in a system error tells. */
export function markBackend(err: object): void {
  ofBackends.add(err)
}

/** The reason for an error that is a backend's for sure: one that was marked, or that only its driver makes. */
export function backendReason(err: unknown): Reason | undefined {
  const reason = reasonOf(err)
  if (ofBackends.has(Object(err))) return reason
  const { code, name, message } = Object(err)
  const system = [code, name, String(message).split(' ', 1)[0]].some((word) => SYSTEM.has(word))
  return reason === 'error' || system ? undefined : reason
}

const SYSTEM = new Set<unknown>(Object.values(NODES).flat())

/** The reason, out of the closed list, for an error of a backend's driver. */
export function reasonOf(error: unknown): Reason {
  const err = causes.map((causeOf) => causeOf(error)).find(Boolean) ?? error
  const { code = '', message } = told(err)
  const known = reasonOfCode.get(code)
  // A SQLSTATE outranks the words of its message, which can name a column `timeout`.
  if (known || /^[0-9A-Z]{5}$/.test(code)) return known ?? 'error'
  const said = reasonOfCode.get(Object(err).name) ?? reasonOfCode.get(message.split(' ', 1)[0] as string)
  return said ?? messages.find(([, pattern]) => pattern.test(message))?.[0] ?? 'error'
}

/** fetch says why it failed in the cause of a TypeError, whose own message is always the same. */
export function whyFetchFailed(err: unknown): unknown {
  const { name, cause } = Object(err) as { name?: unknown; cause?: unknown }
  return (name === 'TypeError' && cause) || err
}

/** Whether waiting cannot cure it: wrong password, no such database, a certificate that does not verify. */
export function isPermanent(err: unknown): boolean {
  const { code, message } = told(err)
  return permanent.some((pattern) => pattern.test(code ?? message))
}

/** What decides: the code, or the message, which a vague code is a part of. */
function told(err: unknown): ReturnType<typeof redact> {
  const { code, message } = redact(err)
  return vague.has(code as string) ? { message: `${code} ${message}` } : { code, message }
}

/**
 * Code and message of a driver's error, the only parts to log: ioredis keeps the command in its errors, with the
 * password. Anything can be thrown, and to tell of it must not throw.
 */
export function redact(err: unknown): { code?: string | undefined; message: string } {
  const { code, message } = (err ?? {}) as { code?: unknown; message?: unknown }
  const text = typeof err === 'object' && err ? 'an object without a message' : String(err)
  return { code: typeof code === 'string' ? code : undefined, message: typeof message === 'string' ? message : text }
}
