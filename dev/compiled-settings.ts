/**
 * For the build: env-schema with the settings of the service compiled into it. The schema is a constant, which env-schema
 * would have Ajv compile at each boot, with a schema for the schema: a fifth of the boot.
 */
import { createRequire } from 'node:module'
import type { Ajv as AjvClass, KeywordCxt } from 'ajv'

/** Ajv is env-schema's own, so that both read a value alike. */
const require = createRequire(createRequire(import.meta.resolve('@fastify/env')).resolve('env-schema'))
const { Ajv, _ } = require('ajv') as { Ajv: typeof AjvClass; _: typeof import('ajv')._ }
const { default: standalone } = require('ajv/dist/standalone') as typeof import('ajv/dist/standalone/index.js')

/** env-schema's options, and its keyword as code: a function would not be written out. */
const OPTIONS = { allErrors: true, removeAdditional: true, useDefaults: true, coerceTypes: true, allowUnionTypes: true }
const separator = {
  keyword: 'separator',
  type: 'string' as const,
  modifying: true,
  code({ gen, data, schema, it: { parentData, parentDataProperty } }: KeywordCxt) {
    gen.assign(data, _`${data} === '' ? [] : ${data}.split(${schema})`)
    gen.assign(_`${parentData}[${parentDataProperty}]`, data)
  },
}

/** Code in place of env-schema's index.js, for options with `schema`, one object `data`, and `env: false`. */
export function compiledSettings(schema: object): string {
  const ajv = new Ajv({ ...OPTIONS, keywords: [separator], code: { source: true } })
  const validate = ajv.compile({ ...schema, additionalProperties: false })
  return `${standalone(ajv, validate)}
const validateSettings = module.exports
module.exports = function envSchema({ data }) {
  const settings = { ...data }
  if (validateSettings(settings)) return settings
  throw Object.assign(new Error('env'), { errors: validateSettings.errors })
}`
}
