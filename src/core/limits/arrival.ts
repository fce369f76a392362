import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, onRequestHookHandler } from 'fastify'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** A request of this route has so long to arrive, body included, where `REQUEST_TIMEOUT_MS` is too short. */
    requestTimeoutMs?: number
  }
}

type Refuse = (err: NodeJS.ErrnoException, socket: Socket) => void

/** Bounds the time in which a request arrives. A connection on which none has begun is idle, and not late. */
export function boundArrival(fastify: FastifyInstance): void {
  const { config, server } = fastify
  server.headersTimeout = config.HEADERS_TIMEOUT_MS
  server.requestTimeout = config.REQUEST_TIMEOUT_MS

  const patient = new WeakMap<Socket, { request: IncomingMessage; until: number }>()
  fastify.addHook('onRoute', (route) => {
    const ms = route.config?.requestTimeoutMs
    if (ms === undefined) return
    const wait: onRequestHookHandler = ({ raw }, _, done) => {
      patient.set(raw.socket, { request: raw, until: performance.now() + ms })
      done()
    }
    route.onRequest = [wait, ...[route.onRequest ?? []].flat()]
  })

  const [refuse] = server.listeners('clientError') as unknown as [Refuse]
  server.removeAllListeners('clientError').on('clientError', (err: NodeJS.ErrnoException, socket: Socket) => {
    if (err.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
      // Node takes the time before a first request for one that is late (node issue 24980). The first byte starts it anew.
      if (socket.bytesRead === 0) return
      const { request, until = 0 } = patient.get(socket) ?? {}
      const leftMs = until - performance.now()
      if (request?.complete === false && leftMs > 0) {
        // Node tells of a request once.
        setTimeout(() => request.complete || refuse(err, socket), leftMs).unref()
        return
      }
    }
    refuse(err, socket)
  })
}
