/** What structured clone keeps as it is. */
type Kept =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | RegExp
  | Error
  | ArrayBuffer
  | ArrayBufferView
// biome-ignore lint/suspicious/noExplicitAny: any function
type Any = any
type Fn = (...args: Any[]) => unknown

/** What comes back of a value: an instance of a class has its fields, and no methods. */
export type Cloned<T> = T extends Kept
  ? T
  : T extends Map<infer K, infer V>
    ? Map<Cloned<K>, Cloned<V>>
    : T extends Set<infer V>
      ? Set<Cloned<V>>
      : T extends Fn | symbol
        ? never
        : T extends readonly (infer V)[]
          ? V[] extends T
            ? T extends V[]
              ? Cloned<V>[]
              : readonly Cloned<V>[]
            : { [K in keyof T]: Cloned<T[K]> }
          : T extends object
            ? { [K in keyof T as T[K] extends Fn | symbol ? never : K]: Cloned<T[K]> }
            : T

/** A function of one argument. As a second one it gets the argument's key. */
export type Load = (argument: Any, key: string) => unknown
export type Result<L extends Load> = Awaited<ReturnType<L>>
type Argument<L extends Load> =
  Parameters<L> extends []
    ? []
    : Parameters<L> extends [unknown, ...unknown[]]
      ? [argument: Parameters<L>[0]]
      : [argument?: Parameters<L>[0]]
export type Cached<L extends Load, R> = (...argument: Argument<L>) => Promise<R>

type Listener = (key: string) => void
export type References = string | readonly string[] | null | undefined | false

/** For values that structured clone does not keep, such as instances of a class. */
export interface Transformer<R> {
  serialize(value: R): Any
  deserialize(value: Any): R | Promise<R>
}

export interface Options<L extends Load> {
  /** Seconds, or a function of the value. At 0 nothing is stored: concurrent callers share one load. */
  ttl?: number | ((value: Result<L>) => number)
  /** Seconds for which the old value answers once `ttl` is over, while a new one is loaded. */
  stale?: number | ((value: Result<L>) => number)
  /** By which of these the entry can be invalidated. It knows the argument and its key, and not the value. */
  references?: (argument: Parameters<L>[0], key: string) => References | Promise<References>
  /** What of the argument makes the key. */
  serialize?: (argument: Parameters<L>[0]) => unknown
  onHit?: Listener
  onMiss?: Listener
  onDedupe?: Listener
  onError?: (err: unknown) => void
}
