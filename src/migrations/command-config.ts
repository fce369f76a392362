import fastify from 'fastify'
import env from '../core/config/env.ts'
import type { Config } from '../core/config/settings.ts'
import { compose } from '../core/feature.ts'
import { settings } from '../core/health/health.ts'

/** The settings of a command that asks the database alone: no other is validated. Throws `ConfigError`. */
export async function commandConfig(variables = process.env): Promise<Config> {
  const features = await compose(import('../database/index.ts'), import('./index.ts'))
  const app = fastify()
  await app.register(env, { features: [{ name: 'health', settings }, ...features], env: variables })
  return app.config
}
