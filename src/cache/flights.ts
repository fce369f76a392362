export interface Loaded {
  value: unknown
  /** Undefined for a value that cannot be stored. */
  encoded: Buffer | undefined
}

/** A load, and those who wait for it. */
export interface Flight {
  loaded: Promise<Loaded>
  /** Of its entry and of its versions. */
  keys: string[]
  /** Whether its value is there. */
  isLoaded: boolean
  /** False once it was invalidated: it may have read what was before. */
  isCurrent: boolean
}

/**
 * The loads under way. A caller joins the one of its key and its tokens: one that began before an invalidation has
 * others. Where Redis tells no tokens, an invalidation in this process drops the loads that it concerns.
 */
export class Flights {
  readonly #flights = new Map<string, Flight>()

  find(name: string): Flight | undefined {
    return this.#flights.get(name)
  }

  /** It can be joined under each of these names until `over` settles. */
  add(names: string[], flight: Flight, over: Promise<unknown>): void {
    for (const name of names) this.#flights.set(name, flight)
    const leave = () => this.remove(names, flight)
    over.then(leave, leave)
  }

  remove(names: string[], flight: Flight): void {
    // A newer flight may have the name.
    for (const name of names) if (this.#flights.get(name) === flight) this.#flights.delete(name)
  }

  /** Drops those that have one of these keys. */
  drop(keys: string[]): void {
    const dropped = new Set(keys)
    for (const [name, flight] of this.#flights) {
      if (!flight.keys.some((key) => dropped.has(key))) continue
      flight.isCurrent = false
      this.#flights.delete(name)
    }
  }
}
