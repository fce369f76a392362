import type { IncomingMessage } from 'node:http'
import { types } from 'node:util'
import type { FastifyRequest } from 'fastify'
import type { LoggerOptions } from 'pino'
import { LogOutput } from './log-output.ts'
import { redactLine } from './redaction.ts'

/** Of the causes of an error, and of the errors that it is made of, no more are logged. */
const MAX_CAUSES = 10
/** Characters of a text of it. */
const MAX_TEXT = 4_000
/**
 * What JSON need not escape, and a client can send: DEL and the controls above it, which command some terminals, and
 * what breaks a line, has no width, hides text (U+E0041) or turns it around. Whoever reads the log with `kubectl logs`
 * sees it raw.
 */
const UNSEEN = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]+/gu
/** Most lines are ASCII, of which this is told in a third of the time. */
const BEYOND_ASCII = /[^ -~\n]/
/** What is logged of an error. */
const PROPERTIES = ['name', 'code', 'message', 'stack', 'cause', 'errors']

/**
 * Of an error, or of whatever else was thrown, what an error has. pino's own serializer prints every property: ioredis
 * keeps the command there, and with it the password; pg the values of a row; axios the request's headers. Causes can
 * form a loop.
 */
function serializeError(thrown: unknown, seen: unknown[] = []): unknown {
  if (!isObject(thrown)) return plain(thrown)
  const [name, code, message, stack, cause, errors] = PROPERTIES.map((property) => read(thrown, property))
  seen.push(thrown)
  const next = (effect: unknown) => {
    if (effect === undefined || seen.includes(effect) || seen.length > MAX_CAUSES) return undefined
    return serializeError(effect, seen)
  }
  return {
    type: plain(name),
    code: plain(code),
    message: plain(message),
    stack: plain(stack),
    cause: next(cause),
    // Of AggregateError.
    errors: Array.isArray(errors) ? errors.slice(0, MAX_CAUSES).map(next) : undefined,
  }
}

/** A getter that throws must not end the process with what is logged of an error that nobody caught. */
function read(thrown: unknown, property: string): unknown {
  try {
    return (thrown as Record<string, unknown>)[property]
  } catch {
    return undefined
  }
}

function isObject(value: unknown): boolean {
  return Object(value) === value
}

function plain(value: unknown): unknown {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT)
  return isObject(value) ? undefined : value
}

/** pino takes it of the error, and writes no JSON for a symbol. */
function serializeMessage(message: unknown): string {
  return isObject(message) ? '' : String(message)
}

/** Fastify's own serializer prints the URL with its query. Node's request has no route, and to log it is no failure. */
function serializeRequest(request: FastifyRequest | IncomingMessage | null): object {
  const { method, routeOptions } = Object(request)
  return { method, route: routeOptions?.url }
}

/** JSON of the same value. The characters can only be in its strings. */
function escapeUnseen(line: string): string {
  if (!BEYOND_ASCII.test(line)) return line
  return line.replace(UNSEEN, (characters) =>
    characters.replace(/./gs, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )
}

/** JSON; the level is `LOG_LEVEL` from the moment the configuration is read. */
export const logger: LoggerOptions = {
  serializers: { err: (err: unknown) => serializeError(err), msg: serializeMessage, req: serializeRequest },
  // pino knows the errors of its own realm only, and prints every property of one from a node:vm context.
  formatters: { log: (entry) => (types.isNativeError(entry) ? { err: entry } : entry) },
  hooks: { streamWrite: (line) => escapeUnseen(redactLine(line)) },
}

/** Standard output, from all instances of the process. */
export const output = new LogOutput(1)
process.on('exit', () => output.end())
// A pipe does not block once its stream was asked for, but Node lets a terminal block, for console.log().
const { _handle: handle } = process.stdout as { _handle?: { setBlocking?(blocks: boolean): void } }
handle?.setBlocking?.(false)
