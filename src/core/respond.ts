import type { FastifyReply } from 'fastify'
import type { ErrorAnswer } from './error-answers.ts'
import type { Fault } from './validation.ts'

// An import of node:http loads undici too, for the WebSocket that it exports: a tenth of the boot, and 10 MB.
const { STATUS_CODES, validateHeaderName, validateHeaderValue } = process.getBuiltinModule('node:http')

const TYPE = 'application/json; charset=utf-8'
/** What a handler has said of the body that it did not send. */
const OF_BODY = [
  ...['content-disposition', 'content-encoding', 'content-language', 'content-length', 'content-location'],
  ...['content-md5', 'content-range', 'accept-ranges', 'age', 'etag', 'expires', 'last-modified', 'repr-digest'],
]
/** What no error may say: of its body, of how long it is kept, and of the framing, which is Node's. */
const RESERVED = new Set([
  ...OF_BODY.filter((name) => name !== 'content-range'), // by which a 416 tells how much there is
  ...['content-type', 'cache-control', 'connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
])

/** Fastify's shape of an error; `errors` of a validation. */
export function bodyOf({ status, code, message }: ErrorAnswer, errors?: Fault[]): object {
  const error = STATUS_CODES[status] ?? 'Error'
  return { statusCode: status, code, error, message: message || error, errors }
}

/**
 * Answers with an error in place of what the handler has begun. Headers that plugins have set stay. Without the schemas
 * of the route, because every error has this shape, and one that does not fit must arrive too.
 */
export function respond(reply: FastifyReply, answer: ErrorAnswer, errors?: Fault[]): void {
  prepare(reply, answer).serializer(JSON.stringify).send(bodyOf(answer, errors))
}

/** The status and the headers of that. */
export function prepare(reply: FastifyReply, { status, headers }: ErrorAnswer): FastifyReply {
  for (const name of OF_BODY) reply.removeHeader(name)
  for (const [name, value] of Object.entries(Object(headers))) if (isSendable(name, value)) reply.header(name, value)
  if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', '1')
  return reply.code(status).header('cache-control', 'no-store').type(TYPE)
}

/** The same for an answer that could not be sent so: past the hooks, and with no header but these. */
export function respondAtLast(reply: FastifyReply, answer: ErrorAnswer): void {
  const { raw, request } = reply.hijack()
  if (raw.headersSent) {
    raw.destroy()
    return
  }
  for (const name of raw.getHeaderNames()) raw.removeHeader(name)
  const again = answer.status === 503 && { 'retry-after': '1' }
  const head = { 'x-request-id': request.id, 'content-type': TYPE, 'cache-control': 'no-store', ...again }
  raw.writeHead(answer.status, head).end(JSON.stringify(bodyOf(answer)))
}

function isSendable(name: string, value: unknown): value is string {
  if (RESERVED.has(name.toLowerCase())) return false
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value as string)
    return true
  } catch {
    return false
  }
}
