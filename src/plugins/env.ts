import fastifyEnv from '@fastify/env'
import fp from 'fastify-plugin'
import { type Config, contradictions, resolveEnv, schema } from '../config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
  }
}

/** The environment cannot be used. `problems` lists every reason by variable name, without values. */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID'
  readonly problems: string[]

  constructor(problems: string[]) {
    super(`configuration: ${problems.join('; ')}`)
    this.problems = problems
  }
}

interface AjvError {
  instancePath: string
  message?: string
  params: { allowedValues?: string[] }
}

function describe({ instancePath, message, params }: AjvError): string {
  return `${instancePath.slice(1)} ${message}${params.allowedValues ? `: ${params.allowedValues.join(', ')}` : ''}`
}

/** `app.config`: the validated environment, frozen. The one reader of `process.env`. Throws `ConfigError`. */
export default fp<{ env?: NodeJS.ProcessEnv }>(
  async function env(fastify, { env: source = process.env }) {
    const { data, problems } = resolveEnv(source)
    try {
      // @fastify/env marks the schema and merges into its options: it gets copies.
      await fastify.register(fastifyEnv, { schema: structuredClone(schema), data, env: false })
      problems.push(...contradictions(fastify.config))
    } catch (err) {
      problems.push(...(err as { errors: AjvError[] }).errors.map(describe))
    }
    if (problems.length > 0) throw new ConfigError(problems)
    Object.freeze(fastify.config)
    fastify.log.level = fastify.config.LOG_LEVEL
  },
  { name: 'env', fastify: '5.x' },
)
