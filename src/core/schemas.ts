import { type Static, type TSchema, type TUnsafe, Type } from 'typebox'

/**
 * An instant in an answer: a `Date` of the handler is sent as ISO 8601 in UTC, with milliseconds. In a request
 * nothing makes a `Date`: `Type.String({ format: 'date-time' })` says what the handler gets.
 */
export const DateTime = Type.Unsafe<Date>({ type: 'string', format: 'date-time' }) as TUnsafe<Date> & { type: string }

/** An enum by its kind, because its values named here would be any string. No literal: its `const` would refuse null. */
type CanBeNull = TSchema & ({ type: string; const?: never } | { '~kind': 'Enum' })

/**
 * The same or null, for an enum or a schema that has one `type`. In a request a `Type.Union` with `Type.Null()` makes `""`
 * or 0 of null, because Ajv coerces the value to the first branch, where a list of types leaves it.
 */
export function Nullable<T extends CanBeNull>(schema: T): TUnsafe<Static<T> | null> {
  const { type, enum: values } = schema as { type?: string; enum?: unknown[] }
  return Type.Unsafe<Static<T> | null>({
    ...schema,
    ...(type && { type: [type, 'null'] }),
    ...(values && { enum: [...values, null] }),
  })
}
