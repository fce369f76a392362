import fp from 'fastify-plugin'
import cache from './plugins/cache.ts'
import database from './plugins/database.ts'
import env from './plugins/env.ts'
import errors from './plugins/errors.ts'
import health from './plugins/health.ts'
import lifecycle from './plugins/lifecycle.ts'
import metrics from './plugins/metrics.ts'
import migrations from './plugins/migrations.ts'
import openapi from './plugins/openapi.ts'
import redis from './plugins/redis.ts'
import requests from './plugins/requests.ts'
import tenants from './plugins/tenants.ts'
import healthRoutes from './routes/health.ts'

/** The data flow, in order: each plugin may rely on all before it, and closing runs backwards. */
export default fp<{ env?: NodeJS.ProcessEnv; folder?: string }>(
  async function app(fastify, options) {
    await fastify.register(env, options)
    await fastify.register(requests)
    await fastify.register(lifecycle)
    await fastify.register(errors)
    await fastify.register(health)
    await fastify.register(database)
    await fastify.register(redis)
    await fastify.register(cache)
    await fastify.register(migrations, options)
    await fastify.register(tenants)
    await fastify.register(metrics)
    await fastify.register(openapi)
    await fastify.register(healthRoutes)
  },
  { name: 'app', fastify: '5.x' },
)
