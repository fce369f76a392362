import type { FastifySchema } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { redact } from '../core/reasons.ts'
import { described, failure, Unavailable } from '../core/response-schemas.ts'
import { service } from '../core/service.ts'

/** Not bundled, because its files lie beside it. The image lacks it. */
const PAGE = '@fastify/swagger-ui' as string

/** The schema, and what a route can answer whatever its schema says. */
function complete({ response, ...rest }: FastifySchema): FastifySchema {
  const unknown = { '2XX': described(Type.Any(), 'done') }
  return { ...rest, response: { 503: Unavailable, default: failure('an error'), ...(response ?? unknown) } }
}

/**
 * `API_DOCS`: the routes registered behind this plugin, from their schemas, as OpenAPI 3.1 at `/openapi.json`; and for
 * people at `/docs`, where @fastify/swagger-ui is installed. Both answer also while the service starts.
 */
export default fp(
  async function openapi(fastify) {
    const { config, log } = fastify
    // Loaded only where it is switched on, because it takes a part of the boot.
    if (!config.API_DOCS) return
    const { default: swagger } = await import('@fastify/swagger')
    await fastify.register(swagger, {
      openapi: { openapi: '3.1.0', info: { title: service.name, version: service.version } },
      convertConstToEnum: false,
      // A route that answers while the service starts, such as a probe, says itself all that it answers.
      transform: ({ schema = {}, url, route }) => ({
        schema: route.config?.duringStart ? schema : complete(schema),
        url,
      }),
    })

    fastify.get('/openapi.json', { schema: { hide: true }, config: { duringStart: true } }, async (_, reply) =>
      reply.header('cache-control', 'no-store').send(fastify.swagger()),
    )

    const page: Promise<typeof import('@fastify/swagger-ui')> = import(PAGE)
    const ui = await page.catch((err) => log.info({ err: redact(err) }, 'no /docs'))
    if (!ui) return
    await fastify.register(async (docs) => {
      docs.addHook('onRoute', (route) => {
        route.config = { ...route.config, duringStart: true }
      })
      await docs.register(ui.default, { routePrefix: '/docs', theme: { title: service.name } })
    })
  },
  { name: 'openapi', fastify: '5.x', dependencies: ['env', 'lifecycle'] },
)
