/** The limit: a Fastify that answers a constant, and logs nothing. */
import Fastify from 'fastify'

const fastify = Fastify()
fastify.get('/health', async () => ({ status: 'ok' }))
process.once('SIGTERM', () => fastify.close())
await fastify.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
