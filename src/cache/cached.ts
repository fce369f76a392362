import { decode, encode } from './entry.ts'
import type { Failures, Part } from './failures.ts'
import type { Flight, Flights, Loaded } from './flights.ts'
import { keyOf, type redisKeys } from './keys.ts'
import type { Load, Options, Transformer } from './types.ts'
import { type Found, type Keys, Versions } from './versions.ts'

/** A lookup asks for the version of each: a hit with so many took 3 ms of the processor, a miss 17 ms. */
const MAX_REFERENCES = 1_000
/** Reading a value of this size took some 80 ms. */
const MAX_VALUE_BYTES = 4 * 2 ** 20
/** Refreshes of stale entries in this process at once. */
const MAX_REFRESHES = 100
/** A year. What lives for ever would make every version do so too. */
const MAX_TIME_MS = 31_536_000_000

/** What the functions of one cache share. */
export interface Shared {
  keys: ReturnType<typeof redisKeys>
  versions: Versions
  flights: Flights
  failures: Failures
  /** The stale entries that are being refreshed. */
  refreshing: Set<string>
}

/** Any function's: which values they have is for the types of `define` to say. */
export type AnyOptions = Options<Load> & { transformer?: Transformer<unknown> }

interface Call {
  argument: unknown
  key: string
  keys: Keys
  /** Without a time to live nothing is looked up. */
  isStored: boolean
}

/** One function of the cache. Whatever fails but its load, a call answers from the load. */
export class CachedFunction {
  readonly lookups = { hit: 0, miss: 0 }
  readonly #name: string
  readonly #options: AnyOptions
  readonly #load: Load
  readonly #shared: Shared
  readonly #keys: ReturnType<Shared['keys']['of']>

  constructor(name: string, options: AnyOptions, load: Load, shared: Shared) {
    this.#name = name
    this.#options = options
    this.#load = load
    this.#shared = shared
    this.#keys = shared.keys.of(name)
    const known = (time: AnyOptions['ttl']) => (typeof time === 'number' ? milliseconds(time) : 0)
    shared.versions.outlive({ ttlMs: known(options.ttl), staleMs: known(options.stale) })
  }

  /** The version of all its entries. */
  get version(): string {
    return this.#keys.version
  }

  /** The key in Redis of the entry for this argument. */
  entry(argument: unknown): string {
    return this.#keys.entry(this.#key(argument))
  }

  readonly call = async (argument: unknown): Promise<unknown> => {
    const call = await this.#prepare(argument)
    if (!call) return this.#load(argument, '')
    const { versions, flights } = this.#shared
    const found = call.isStored ? await versions.read(call.keys) : undefined
    if (found?.encoded) {
      try {
        const value = await this.#decode(found.encoded)
        this.#tell('hit', call)
        if (!found.isFresh) void this.#refresh(call, found)
        return value
      } catch (err) {
        this.#failed('value', err)
      }
    }
    const underWay = flights.find(nameOf(call, found?.tokens))
    if (underWay) this.#tell(underWay.isLoaded ? 'hit' : 'dedupe', call)
    else this.#tell('miss', call)
    const { value, encoded } = await (underWay ?? this.#start(call, found)).loaded
    return encoded ? this.#decode(encoded) : value
  }

  /** Undefined when its key or its references cannot be known. */
  async #prepare(argument: unknown): Promise<Call | undefined> {
    const { references, ttl, stale } = this.#options
    let part: Part = 'key'
    try {
      const key = this.#key(argument)
      part = 'references'
      const named = this.#shared.keys.references(await references?.(argument, key))
      const isTooMuch = named.length > MAX_REFERENCES
      if (isTooMuch) this.#failed(part, new RangeError(`Too many: ${named.length}, and ${MAX_REFERENCES} at most`))
      const keys = {
        entry: this.#keys.entry(key),
        fresh: stale ? this.#keys.fresh(key) : undefined,
        versions: [this.#shared.keys.everything, this.version, ...named],
      }
      return { argument, key, keys, isStored: Boolean(ttl) && !isTooMuch }
    } catch (err) {
      this.#failed(part, err)
      return undefined
    }
  }

  #key(argument: unknown): string {
    const { serialize } = this.#options
    return keyOf(serialize ? serialize(argument) : argument)
  }

  /** A load that others can join. It is stored under the tokens of before it, and nobody waits for that. */
  #start(call: Call, found: Found | undefined): Flight {
    const { versions, flights } = this.#shared
    const tokens = found && Versions.complete(found.tokens)
    // Sent before the load begins: an invalidation that Redis has seen in between is there first, and nothing is stored.
    const placed = found && tokens && versions.place(call.keys.versions, found.tokens, tokens)
    const flight: Flight = {
      keys: [call.keys.entry, ...call.keys.versions],
      loaded: this.#run(call),
      isLoaded: false,
      isCurrent: true,
    }
    const [asked, own] = [nameOf(call, found?.tokens), nameOf(call, tokens)]
    const stored = flight.loaded.then(async (loaded) => {
      flight.isLoaded = true
      if (tokens && (await placed) && flight.isCurrent) await this.#store(call, tokens, loaded)
    })
    flights.add([asked, own], flight, stored)
    // From now on another caller sees the tokens; that it sees none means that they are gone.
    void placed?.then((isPlaced) => isPlaced !== undefined && asked !== own && flights.remove([asked], flight))
    return flight
  }

  async #run({ argument, key }: Call): Promise<Loaded> {
    try {
      const value = await this.#load(argument, key)
      return { value, encoded: this.#options.ttl ? this.#encode(value) : undefined }
    } catch (err) {
      this.#notify(this.#options.onError, err)
      throw err
    }
  }

  async #store({ keys }: Call, tokens: string[], { value, encoded }: Loaded): Promise<void> {
    if (!encoded) return
    try {
      const times = { ttlMs: milliseconds(this.#options.ttl, value), staleMs: milliseconds(this.#options.stale, value) }
      if (times.ttlMs > 0) await this.#shared.versions.write(keys, tokens, encoded, times)
    } catch (err) {
      this.#failed('ttl', err)
    }
  }

  /** Loads again what is out of date, in one replica, once. What fails is tried again when the claim is over. */
  async #refresh(call: Call, found: Found): Promise<void> {
    const { refreshing, versions, flights } = this.#shared
    const { entry, fresh } = call.keys
    if (refreshing.has(entry) || refreshing.size >= MAX_REFRESHES) return
    refreshing.add(entry)
    try {
      const isOurs = !flights.find(nameOf(call, found.tokens)) && (await versions.claim(fresh as string))
      if (isOurs) await this.#start(call, found).loaded
    } catch (err) {
      this.#shared.failures.failed('refresh', err, this.#name)
    }
    refreshing.delete(entry)
  }

  #encode(value: unknown): Buffer | undefined {
    const { transformer } = this.#options
    try {
      const encoded = encode(transformer ? transformer.serialize(value) : value)
      if (encoded.length <= MAX_VALUE_BYTES) return encoded
      throw new RangeError(`Too large: ${encoded.length} bytes, and ${MAX_VALUE_BYTES} at most`)
    } catch (err) {
      this.#failed('value', err)
      return undefined
    }
  }

  #decode(encoded: Buffer): unknown {
    const { transformer } = this.#options
    return transformer ? transformer.deserialize(decode(encoded)) : decode(encoded)
  }

  #failed(part: Part, err: unknown): void {
    this.#shared.failures.failed(part, err, this.#name)
    this.#notify(this.#options.onError, err)
  }

  #tell(result: 'hit' | 'miss' | 'dedupe', { key, isStored }: Call): void {
    const { onHit, onMiss, onDedupe } = this.#options
    if (isStored) this.lookups[result === 'hit' ? 'hit' : 'miss']++
    this.#notify({ hit: onHit, miss: onMiss, dedupe: onDedupe }[result], key)
  }

  #notify<T>(listener: ((what: T) => void) | undefined, what: T): void {
    try {
      listener?.(what)
    } catch (err) {
      this.#shared.failures.failed('listener', err, this.#name)
    }
  }
}

/** By what the load of this call, under these tokens, is found. */
function nameOf({ keys: { entry } }: Call, tokens: (string | undefined)[] = []): string {
  return `${tokens.join()} ${entry}`
}

/** Of seconds, or a function of the value. Throws for what is no time. */
function milliseconds(given: AnyOptions['ttl'], value?: unknown): number {
  const time = typeof given === 'function' ? given(value as never) : (given ?? 0)
  if (!Number.isFinite(time) || time < 0) throw new RangeError(`A time must be a number of seconds: ${time}`)
  return Math.min(Math.ceil(time * 1_000), MAX_TIME_MS)
}
