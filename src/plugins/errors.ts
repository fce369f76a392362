import type { FastifyError } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf, redact } from '../reasons.ts'

// An import of node:http loads undici too, for the WebSocket that it exports: a tenth of the boot, and 10 MB.
const { STATUS_CODES } = process.getBuiltinModule('node:http')

/** An error of the server as a client may see it: its status, never a detail. Those of the client keep Fastify's shape. */
export default fp(
  async function errors(fastify) {
    const answer = (statusCode: number) => {
      const name = STATUS_CODES[statusCode]
      return { statusCode, error: name, message: name }
    }

    fastify.setErrorHandler<FastifyError>((err, request, reply) => {
      const { statusCode = 500 } = err
      if (statusCode < 500 || err.code === 'STARTING') return reply.send(err)

      // A backend that cannot be reached, or a pool that cannot give a connection in time, is worth another try.
      const reason = reasonOf(err)
      if (reason === 'error' || reason === 'auth') {
        request.log.error({ err }, 'request failed')
        return reply.code(statusCode).send(answer(statusCode))
      }
      request.log.warn({ reason, err: redact(err) }, 'backend unavailable')
      return reply.code(503).header('retry-after', '1').send(answer(503))
    })
  },
  { name: 'errors', fastify: '5.x' },
)
