import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { bodyOf } from './respond.ts'

const { STATUS_CODES } = process.getBuiltinModule('node:http')

declare module 'fastify' {
  interface FastifyInstance {
    /** How many requests were answered before a route was looked for, by status. */
    refusals: Map<number, number>
  }
}

/** By the error of Node's parser; every other is a 400. */
const STATUSES: Record<string, number> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  HPE_HEADER_OVERFLOW: 431,
}

/** What a refusal has to know of the request that it cuts off, and what the line of that request has to know. */
export interface Refusable extends ServerResponse {
  requestId?: string
  refusedWith?: number
  /** All of the answer was given to the system. `writableFinished` can say so of one that was cut off. */
  isAnswered?: boolean
}

export function countRefusal({ refusals }: FastifyInstance, status: number): void {
  refusals.set(status, (refusals.get(status) ?? 0) + 1)
}

/**
 * Answers what Node's parser cannot read, or what does not arrive in time, as Node does; with an id, a line in the log,
 * and counted. A request that has come as far as a route has a line of its own, which tells of it, unless it is quiet.
 */
export function refuseUnreadable(app: FastifyInstance, { code }: { code: string }, socket: Socket): void {
  const status = STATUSES[code] ?? 400
  const open = (socket as { _httpMessage?: Refusable | null })._httpMessage
  const requestId = open?.requestId ?? randomUUID()
  // Else the client is gone, or has an answer that is cut off.
  if (socket.writable && !open?.headersSent) {
    const body = JSON.stringify(bodyOf({ status }))
    const head = { ...headersOf(requestId, body), connection: 'close' }
    const lines = Object.entries(head).map((header) => header.join(': '))
    socket.write([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, '', body].join('\r\n'))
    if (open?.requestId) open.refusedWith = status
    else note(app, status, { requestId, code })
  }
  socket.destroy()
}

/** Answers an expectation other than `100-continue`, which no route gets to see. */
export function refuseExpectation(app: FastifyInstance, requestId: string, method: string, res: ServerResponse): void {
  const body = JSON.stringify(bodyOf({ status: 417 }))
  res.shouldKeepAlive = false // the body that was announced may come or not
  res.writeHead(417, headersOf(requestId, body)).end(body)
  note(app, 417, { requestId, method })
}

function note(app: FastifyInstance, status: number, line: object): void {
  countRefusal(app, status)
  app.log.info({ ...line, status }, 'request')
}

function headersOf(requestId: string, body: string): Record<string, string> {
  return {
    'x-request-id': requestId,
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'content-length': String(body.length),
  }
}
