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
    const validate = compiled.get(schema) ?? compile(schema, request)
    compiled.set(schema, validate)
    validate(request[part === 'querystring' ? 'query' : (part as 'body')])
    // An error for each branch that was not taken says nothing.
    return (validate.errors as AjvError[] | null)?.filter(({ keyword }) => keyword !== 'if')
  } catch {
    return undefined // a keyword that only the first one knows
  }
}

function compile(schema: unknown, { server }: FastifyRequest): Validate {
  const options = { customOptions: { allErrors: true, logger: false } }
  return compiler(
    guarded(server.getSchemas()) as never,
    options as never,
  )({ schema: guarded(schema) } as never) as unknown as Validate
}

/** Has no pattern tested on a text that is too long for it, which may take for ever: else it is, for all errors. */
function guarded<T>(schemas: T): T {
  return JSON.parse(JSON.stringify(schemas), (_, schema) => {
    if (typeof schema?.maxLength !== 'number' || typeof schema.pattern !== 'string') return schema
    const { pattern, allOf = [], ...rest } = schema
    const type = 'string'
    return { ...rest, allOf: [...allOf, { if: { type, minLength: rest.maxLength + 1 }, else: { type, pattern } }] }
  })
}

function isSmall({ headers }: FastifyRequest): boolean {
  return Number(headers['content-length']) <= SMALL && headers['content-encoding'] === undefined
}
