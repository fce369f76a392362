import type { FastifyError } from 'fastify'
import fp from 'fastify-plugin'
import { reasonOf, redact } from '../reasons.ts'

/** An error of the server as a client may see it: never a detail. Those of the client keep Fastify's own shape. */
export default fp(
  async function errors(fastify) {
    fastify.setErrorHandler<FastifyError>((err, request, reply) => {
      const { statusCode = 500 } = err
      if (statusCode < 500 || err.code === 'STARTING') return reply.send(err)

      // A backend that cannot be reached, or a pool that cannot give a connection in time, is worth another try.
      const reason = reasonOf(err)
      if (reason === 'error' || reason === 'auth') {
        request.log.error({ err }, 'request failed')
        return reply
          .code(500)
          .send({ statusCode: 500, error: 'Internal Server Error', message: 'Internal Server Error' })
      }
      request.log.warn({ reason, err: redact(err) }, 'backend unavailable')
      return reply
        .code(503)
        .header('retry-after', '1')
        .send({ statusCode: 503, error: 'Service Unavailable', message: 'Service Unavailable' })
    })
  },
  { name: 'errors', fastify: '5.x' },
)
