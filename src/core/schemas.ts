import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'

/**
 * An instant in an answer: a `Date` of the handler is sent as ISO 8601 in UTC, with milliseconds. In a request
 * nothing makes a `Date`: `Type.String({ format: 'date-time' })` says what the handler gets.
 */
export const DateTime = Type.Unsafe<Date>({ type: 'string', format: 'date-time' }) as TUnsafe<Date> & { type: string }

/**
 * The same or null, for a schema that has one `type`. In a request a `Type.Union` with `Type.Null()` makes `""` or 0 of
 * null, because Ajv coerces the value to the first branch, where a list of types leaves it.
 */
export function Nullable<T extends TSchema & { type: string }>(schema: T): TUnsafe<Static<T> | null> {
  return Type.Unsafe<Static<T> | null>({ ...schema, type: [schema.type, 'null'] })
}
