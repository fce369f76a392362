import fp from 'fastify-plugin'
import env from './core/config/env.ts'
import { compose } from './core/feature.ts'
import core from './core/index.ts'

export const features = [
  ...core,
  ...(await compose(
    // A feature is its folder and its line here, in the order of boot. Delete both, and the service is without it.
    import('./tracing/index.ts'),
    import('./database/index.ts'),
    import('./redis/index.ts'),
    import('./cache/index.ts'),
    import('./migrations/index.ts'),
    import('./tenants/index.ts'),
    import('./metrics/index.ts'),
    import('./openapi/index.ts'),
  )),
]

/**
 * The data flow, in order: the settings; the plugins of core (lifecycle, errors, health) and of the features; their
 * routes; yours. Each step may rely on all before it, and closing runs backwards.
 */
export default fp<{ env?: NodeJS.ProcessEnv; folder?: string }>(
  async function app(fastify, options) {
    await fastify.register(env, { ...options, features })
    for (const { plugin } of features) if (plugin) await fastify.register(plugin, { ...options, features })
    for (const { routes } of features) if (routes) await fastify.register(routes)
    // Yours:
  },
  // Throws for an instance that createFastify() did not make.
  { name: 'app', fastify: '5.x', decorators: { fastify: ['createFastify'] } },
)
