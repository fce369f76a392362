import type { FastifyError } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf, redact } from './reasons.ts'

// An import of node:http loads undici too, for the WebSocket that it exports: a tenth of the boot, and 10 MB.
const { STATUS_CODES } = process.getBuiltinModule('node:http')

/** Answers errors: one of the server with its status and no detail, one of the client in Fastify's shape. */
export default fp(
  async function errors(fastify) {
    fastify.setErrorHandler<FastifyError>((err, request, reply) => {
      // Anything can be thrown. Fastify would answer 200 with all of an object that is no error.
      let { statusCode = 500 } = Object(err)
      if (statusCode < 500 && err instanceof Error) return reply.send(err)

      const reason = reasonOf(err)
      if (reason === 'error') {
        request.log.error({ err }, 'request failed')
      } else {
        // A backend that cannot be reached, or a pool that cannot give a connection in time, is worth another try.
        request.log.warn({ reason, err: redact(err) }, 'backend unavailable')
        reply.header('retry-after', '1')
        statusCode = 503
      }
      const name = STATUS_CODES[statusCode]
      return reply.code(statusCode).send({ statusCode, error: name, message: name })
    })
  },
  { name: 'errors', fastify: '5.x' },
)
