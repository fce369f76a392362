import AjvCompiler from '@fastify/ajv-compiler'
import type { FastifyRequest } from 'fastify'

/** A value of a request that is not valid. `path`: the part of the request, and where in it, such as `body/size`. */
export interface Fault {
  path: string
  message: string
}

/** Fastify's error. Validators of other kinds than Ajv make errors of their own. */
export interface Invalid extends Error {
  validation?: unknown
  validationContext: string
}

interface AjvError {
  instancePath: string
  keyword: string
  message: string
  params: { missingProperty?: string }
}
type Validate = ((data: unknown) => unknown) & { errors?: unknown }

/** Bytes. Each can be an error of its own, and to find them all takes milliseconds. */
const SMALL = 16_384
const MAX_TOLD = 20
/** Characters. A client's names are a part of a path. */
const MAX_PATH = 200

/**
 * All that is not valid in a part of the request, the first 20 of it with their paths. Of a body that is not small, and
 * of one that a validator of another kind has looked at, only what the validator says: Ajv stops at the first.
 */
export function faultsOf(err: Invalid, request: FastifyRequest): { errors: Fault[]; message: string } | undefined {
  const part = err.validationContext
  const all = everyError(part, request) ?? err.validation
  if (!Array.isArray(all) || typeof all[0]?.instancePath !== 'string') return undefined
  const errors = all.slice(0, MAX_TOLD).map((error) => faultOf(part, error))
  const more = all.length > errors.length ? ` (and ${all.length - errors.length} more errors)` : ''
  return { errors, message: err.message.slice(0, 2 * MAX_PATH) + more }
}

function faultOf(part: string, { instancePath, keyword, message, params }: AjvError): Fault {
  const missing = keyword === 'required' ? `/${params.missingProperty}` : ''
  return { path: `${part}${instancePath}${missing}`.slice(0, MAX_PATH), message }
}

const compiler = AjvCompiler()
const compiled = new WeakMap<object, Validate>()

/** By a second validator, because one that looks for all errors would let a large body block the process. */
function everyError(part: string, request: FastifyRequest): AjvError[] | undefined {
  const { schema } = Object(request.getValidationFunction(part as 'body'))
  // An $async one answers with a promise.
  if (Object(schema) !== schema || schema.$async || (part === 'body' && !isSmall(request))) return undefined
  try {
    if (!compiled.has(schema)) {
      compiled.set(schema, () => {}) // stays where it cannot be compiled, for a keyword that only the first one knows
      compiled.set(schema, compile(schema, request))
    }
    const validate = compiled.get(schema) as Validate
    validate(request[part === 'querystring' ? 'query' : (part as 'body')])
    // An error for each branch that was not taken says nothing.
    return (validate.errors as AjvError[] | null | undefined)?.filter(({ keyword }) => keyword !== 'if')
  } catch {
    return undefined
  }
}

function compile(schema: unknown, { server }: FastifyRequest): Validate {
  const options = { customOptions: { allErrors: true, logger: false } }
  return compiler(
    guarded(server.getSchemas()) as never,
    options as never,
  )({ schema: guarded(schema) } as never) as unknown as Validate
}

/** A check whose time may grow faster than what it looks at, and what bounds that. */
const SLOW = [
  ['pattern', 'maxLength', 'minLength', 'string'],
  ['uniqueItems', 'maxItems', 'minItems', 'array'],
] as const

/**
 * Has nothing checked slowly that is too long for it: a validator that looks for all errors goes on, others stop. The
 * bound can be a part of an `allOf`, and the check of that or of a `$ref`.
 */
function guarded<T>(schemas: T): T {
  return JSON.parse(JSON.stringify(schemas), (_, schema) => {
    let safe = schema
    for (const [check, bound, over, type] of SLOW) {
      const { [check]: slow, allOf, $ref, ...rest } = Object(safe)
      const bounds = [rest, ...[allOf].flat()].map((part) => Object(part)[bound]).filter(Number.isInteger)
      if (bounds.length === 0) continue
      const max = Math.min(...bounds)
      const only = { if: { type, [over]: max + 1 }, else: { [check]: slow, allOf, $ref } }
      safe = { ...rest, [bound]: max, allOf: [only] }
    }
    return safe
  })
}

function isSmall({ headers }: FastifyRequest): boolean {
  return Number(headers['content-length']) <= SMALL && headers['content-encoding'] === undefined
}
