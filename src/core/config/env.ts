import fastifyEnv from '@fastify/env'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { type Feature, withParts } from '../feature.ts'
import { resolveSecret } from './secrets.ts'
import { base, type Config } from './settings.ts'

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

/** Node reads this one itself, for every connection that does not say whether it verifies; `0` alone counts. */
const UNVERIFIED = 'NODE_TLS_REJECT_UNAUTHORIZED'

/** Every setting of these features. A part of a feature may describe a setting of it anew. */
export function settingsOf(features: Feature[]) {
  return Type.Object(Object.assign({}, base, ...withParts(features).map((feature) => feature.settings)))
}

interface AjvError {
  instancePath: string
  message?: string
  params: { allowedValues?: string[]; missingProperty?: string }
}

function describe({ instancePath, message, params }: AjvError): string {
  if (params.missingProperty) return `${params.missingProperty} is missing`
  return `${instancePath.slice(1)} ${message}${params.allowedValues ? `: ${params.allowedValues.join(', ')}` : ''}`
}

/** `app.config`: the validated environment, frozen. The one reader of `process.env`. Throws `ConfigError`. */
export default fp<{ features: Feature[]; env?: NodeJS.ProcessEnv }>(
  async function env(fastify, { features, env: source = process.env }) {
    const all = withParts(features)
    const schema = settingsOf(features)
    // An empty string is no value, except of a list, which it leaves empty.
    const isList = (name: string) => 'separator' in (schema.properties[name] ?? {})
    const data = Object.fromEntries(
      Object.entries(source)
        .filter(([name, value]) => value !== '' || isList(name))
        .map(([name, value]) => [name, isList(name) ? value?.replaceAll(' ', '') : value]),
    )
    const problems = all.flatMap(({ secrets = [] }) => secrets.flatMap((name) => resolveSecret(data, name)))
    problems.push(...all.flatMap((feature) => feature.problems?.(data) ?? []))
    const { NODE_ENV, [UNVERIFIED]: unverified } = data
    if (unverified === '0' && NODE_ENV === 'production')
      problems.push(`${UNVERIFIED}=0 turns off the verification of TLS`)
    // @fastify/env marks the schema and merges into its options: it gets copies.
    const options = { schema: structuredClone(schema), data, env: false }
    await fastify.register(fastifyEnv, options).then(
      () => problems.push(...all.flatMap((feature) => feature.contradictions?.(fastify.config) ?? [])),
      ({ errors }: { errors: AjvError[] }) => problems.push(...errors.map(describe)),
    )
    if (problems.length > 0) throw new ConfigError(problems)
    Object.freeze(fastify.config)
    fastify.log.level = fastify.config.LOG_LEVEL
    if (unverified === '0') fastify.log.warn({ setting: UNVERIFIED }, 'TLS is verified for the backends alone')
  },
  { name: 'env', fastify: '5.x' },
)
