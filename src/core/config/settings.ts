import { type Static, type TObject, type TProperties, type TSchemaOptions, Type } from 'typebox'

/** A day. Node's timers overflow above 2^31 ms, and no timeout of a service is this long. */
const DAY_MS = 86_400_000

export const text = (description: string, options: TSchemaOptions = {}) =>
  Type.Optional(Type.String({ description, ...options }))
export const flag = (description: string) => Type.Boolean({ default: false, description })
export const integer = (fallback: number | undefined, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description })
/** Milliseconds. */
export const duration = (fallback: number | undefined, description: string, minimum = 0) =>
  integer(fallback, minimum, DAY_MS, description)
export const choice = <T extends string>(fallback: T, values: T[], description: string) =>
  Type.Enum(values, { type: 'string', default: fallback, description })

/** The settings of the process itself. */
export const base = {
  NODE_ENV: choice(
    'development',
    ['development', 'test', 'production'],
    'production trusts no private network, and waits before it closes the port',
  ),
  LOG_LEVEL: choice(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'least severe level that is logged',
  ),
}

/** The type of a fragment of settings. */
export type Settings<T extends TProperties> = Static<TObject<T>>

/** Every setting of the service: each feature adds its own by declaration merging. */
export interface Config extends Settings<typeof base> {}

/** The problems whose condition holds. Each names variables, never a value. */
export function problemsThatHold(problems: Record<string, unknown>): string[] {
  return Object.keys(problems).filter((problem) => problems[problem])
}
