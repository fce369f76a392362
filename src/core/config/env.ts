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

type Property = { type?: string; minimum?: number; maximum?: number; separator?: string }
type Properties = Record<string, Property>

/**
 * How each type is written: Ajv alone takes `" "` for 0, `0x10` for 16, `Infinity` for any number, and digits that a
 * number of JavaScript cannot hold for the next one that it can.
 */
const WRITTEN: Record<string, (value: string) => boolean> = {
  integer: (value) => Number.isSafeInteger(Number(value)) && String(Number(value)) === value,
  number: (value) => /^-?\d{1,15}(\.\d{1,15})?$/.test(value),
  boolean: (value) => value === 'true' || value === 'false',
}
const UNREADABLE = 'unreadable'
/** Where a port is `tcp://10.0.0.5:5432`. */
const LINK =
  '; a service link of Kubernetes or Docker sets it so: rename that service, or set enableServiceLinks: false'

/** As Ajv is to see it. Blanks around a number or a boolean do not count. */
function written({ type = '', separator }: Property = {}, value = ''): string {
  if (separator !== undefined) return value.replaceAll(' ', '')
  const isWritten = WRITTEN[type]
  if (!isWritten) return value
  return isWritten(value.trim()) ? value.trim() : UNREADABLE
}

interface AjvError {
  instancePath: string
  keyword: string
  message?: string
  params: { allowedValues?: string[]; missingProperty?: string }
}

/** What is wrong, by name, and what is allowed. */
function describe(
  { instancePath, keyword, message, params }: AjvError,
  properties: Properties,
  env: NodeJS.ProcessEnv,
) {
  if (params.missingProperty) return `${params.missingProperty} is missing`
  const name = instancePath.slice(1)
  const { type, minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER } = properties[name] as Property
  const link = /^\w+:\/\//.test(env[name] as string) ? LINK : ''
  if (type === 'integer' && /^(type|minimum|maximum)$/.test(keyword))
    return `${name} must be a whole number from ${minimum} to ${maximum}, in digits${link}`
  if (type === 'number' && keyword === 'type') return `${name} must be a number, in digits`
  if (type === 'boolean') return `${name} must be true or false`
  return `${name} ${message}${params.allowedValues ? `: ${params.allowedValues.join(', ')}` : ''}`
}

/** `app.config`: the validated environment, frozen. The one reader of `process.env`. Throws `ConfigError`. */
export default fp<{ features: Feature[]; env?: NodeJS.ProcessEnv }>(
  async function env(fastify, { features, env: source = process.env }) {
    const all = withParts(features)
    const schema = settingsOf(features)
    const properties: Properties = schema.properties
    // An empty string is no value, except of a list, which it leaves empty.
    const given = Object.entries(source).filter(
      ([name, value]) => value || (value === '' && properties[name]?.separator),
    )
    const data = Object.fromEntries(given.map(([name, value]) => [name, written(properties[name], value)]))
    const problems = all.flatMap(({ secrets = [] }) => secrets.flatMap((name) => resolveSecret(data, name)))
    problems.push(...all.flatMap((feature) => feature.problems?.(data) ?? []))
    const { NODE_ENV, [UNVERIFIED]: unverified } = data
    if (unverified === '0' && NODE_ENV === 'production')
      problems.push(`${UNVERIFIED}=0 turns off the verification of TLS`)
    // @fastify/env marks the schema and merges into its options: it gets copies.
    const options = { schema: structuredClone(schema), data, env: false }
    await fastify.register(fastifyEnv, options).then(
      () => problems.push(...all.flatMap((feature) => feature.contradictions?.(fastify.config) ?? [])),
      ({ errors }: { errors: AjvError[] }) =>
        problems.push(...errors.map((error) => describe(error, properties, source))),
    )
    if (problems.length > 0) throw new ConfigError(problems)
    Object.freeze(fastify.config)
    fastify.log.level = fastify.config.LOG_LEVEL
    if (unverified === '0') fastify.log.warn({ setting: UNVERIFIED }, 'TLS is verified for the backends alone')
  },
  { name: 'env', fastify: '5.x' },
)
