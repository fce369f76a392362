import { backendReason, type Reason } from './reasons.ts'
import { statusOfUpstream } from './upstreams.ts'

/** What a client is told of an error. No text of it is made of the error: that can hold a value or a name. */
export interface ErrorAnswer {
  /** From 400 to 599. A 503 gets `retry-after: 1` unless the headers say otherwise. */
  status: number
  /** For programs. */
  code?: string | undefined
  /** The name of the status unless given. */
  message?: string | undefined
  headers?: Record<string, unknown> | undefined
  /** Of the line beside that of the request: `info` below 500, `warn` for 503, else `error`, unless given. */
  level?: 'info' | 'warn' | 'error' | undefined
}

/** The answer to an error that it knows. */
export type AnswerTo = (err: unknown) => ErrorAnswer | undefined

const own: AnswerTo[] = []
/** Asked after `own`, although learnt later: `src/app.ts` imports your routes first, and then loads the features. */
export const ofFeatures: AnswerTo[] = []

/** Adds answers, once, ahead of all others that are known so far, and always ahead of those of features. */
export function learnAnswers(answers: AnswerTo, to: AnswerTo[] = own): void {
  if (!to.includes(answers)) to.unshift(answers)
}

/** The answer, and what the log says of it beside the line of the request: nothing without a `level`. */
export interface Told extends ErrorAnswer {
  reason?: Reason
  /** In place of the error, whose message can hold a value. */
  facts?: object | undefined
  /** Fastify has made it of a failed validation. */
  invalid?: boolean
  /** It says no more than that a connection has ended, which can be the client's. */
  isEnd?: boolean
}

const BUG: Told = { status: 500, level: 'error' }

/** The answer to whatever was thrown. An error of which nothing is known is the service's own. */
export function answerTo(err: unknown): Told {
  try {
    const known =
      fromTable(err) ?? forClient(err) ?? ofFastify(err) ?? ofBackend(err) ?? ofUpstream(err) ?? withStatus(err)
    return { ...(known ?? BUG), isEnd: isEnd(err) }
  } catch {
    return BUG // a getter or a Proxy that throws
  }
}

function fromTable(err: unknown): Told | undefined {
  for (const answers of [...own, ...ofFeatures]) {
    const answer = answers(err)
    if (!answer) continue
    const { status } = answer
    if (!isStatus(status)) return BUG
    return { level: levelOf(status, 'info'), ...answer, facts: status < 500 ? factsOf(err) : undefined }
  }
  return undefined
}

/** Characters: PostgreSQL's names have 63. */
const MAX_NAME = 200

/** Names, which are the service's own. */
function factsOf(err: unknown): object {
  const { name, code, schema, table, column, constraint } = Object(err)
  const names = Object.entries({ type: name, code, schema, table, column, constraint })
  return Object.fromEntries(
    names.map(([key, value]) => [key, typeof value === 'string' ? value.slice(0, MAX_NAME) : undefined]),
  )
}

/** Those that say so themselves: HttpError, and the errors of http-errors and of @fastify/sensible. */
function forClient(err: unknown): Told | undefined {
  const { expose, status, statusCode = status, headers, cause } = Object(err)
  if (expose !== true || !isStatus(statusCode)) return undefined
  const level = levelOf(statusCode, cause === undefined ? undefined : 'info')
  return { status: statusCode, ...textOf(err), headers, level }
}

/**
 * Told by what an answer of another service, copied into an error, cannot hold: @fastify/error gives all that it makes
 * this symbol. The errors of a validation have none, whoever validates.
 */
const MADE_BY_FASTIFY = Symbol.for('fastify-error-generic')

function ofFastify(err: unknown): Told | undefined {
  const { [MADE_BY_FASTIFY]: made, code, statusCode: status, validationContext, cause } = Object(err)
  const invalid = err instanceof Error && code === 'FST_ERR_VALIDATION' && typeof validationContext === 'string'
  if ((made !== true && !invalid) || !isStatus(status)) return undefined
  if (status < 500) return { status, ...textOf(err), invalid }
  // @fastify/reply-from, and with it @fastify/http-proxy, makes a 500 of a server that is out of reach.
  return ofUpstream(cause) ?? { status, level: levelOf(status) }
}

function ofBackend(err: unknown): Told | undefined {
  const reason = backendReason(err)
  if (reason === undefined) return undefined
  return reason === 'error' ? BUG : { status: 503, level: 'warn', reason }
}

function ofUpstream(err: unknown): Told | undefined {
  const status = statusOfUpstream(err)
  return status && { status, level: 'warn' }
}

/** Nothing but the status, because the rest can be what another service said. */
function withStatus(err: unknown): Told | undefined {
  const { statusCode: status } = Object(err)
  return isStatus(status) ? { status, level: levelOf(status, 'warn') } : undefined
}

function textOf(err: unknown): Pick<ErrorAnswer, 'code' | 'message'> {
  const { code, message } = err as { code: unknown; message: unknown }
  return { code: typeof code === 'string' ? code : undefined, message: typeof message === 'string' ? message : '' }
}

/** What that is to those who read from it, and to those whom a signal tells of it. */
function isEnd(err: unknown): boolean {
  const { name, code } = Object(err)
  return name === 'AbortError' || code === 'ERR_CANCELED' || code === 'ECONNRESET'
}

function isStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599
}

function levelOf(status: number, ofClients?: Told['level']): Told['level'] {
  if (status < 500) return ofClients
  return status === 503 ? 'warn' : 'error'
}
