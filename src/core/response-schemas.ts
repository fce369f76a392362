import { type TSchema, Type } from 'typebox'

/** For the schema of a route: what an answer means, and its headers. The API description shows both. */
export function described(schema: TSchema, description: string, headers: Record<string, TSchema> = {}): TSchema {
  return { ...schema, description, headers }
}

export const NO_STORE = {
  'cache-control': Type.Literal('no-store', { description: 'to be asked for again each time' }),
}
export const RETRY_AFTER = { 'retry-after': Type.Integer({ description: 'seconds until another try is worth it' }) }

const shape = Type.Object({
  statusCode: Type.Integer(),
  code: Type.Optional(Type.String({ description: 'of an error that has one, such as FST_ERR_VALIDATION' })),
  error: Type.String({ description: 'the name of the status' }),
  message: Type.String(),
  errors: Type.Optional(
    Type.Array(Type.Object({ path: Type.String(), message: Type.String() }), { description: 'what is not valid' }),
  ),
})

/** Every error looks so, whoever made it. */
export const failure = (description: string) => described(shape, description, NO_STORE)

/** The gate answers so while the service starts, the error handler when a backend is out of reach. */
export const Unavailable = described(shape, 'the service starts, or a backend is out of reach', {
  ...NO_STORE,
  ...RETRY_AFTER,
})
