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
  /** By key: an invalidation looks at no others, of which a slow load can gather thousands. */
  readonly #concerned = new Map<string, Set<Flight>>()

  find(name: string): Flight | undefined {
    const flight = this.#flights.get(name)
    return flight?.isCurrent ? flight : undefined
  }

  /** It can be joined under each of these names until `over` settles. */
  add(names: string[], flight: Flight, over: Promise<unknown>): void {
    for (const name of names) this.#flights.set(name, flight)
    for (const key of flight.keys) this.#concerned.set(key, (this.#concerned.get(key) ?? new Set()).add(flight))
    const leave = () => {
      this.remove(names, flight)
      for (const key of flight.keys) {
        const others = this.#concerned.get(key) as Set<Flight>
        others.delete(flight)
        if (others.size === 0) this.#concerned.delete(key)
      }
    }
    over.then(leave, leave)
  }

  remove(names: string[], flight: Flight): void {
    // A newer flight may have the name.
    for (const name of names) if (this.#flights.get(name) === flight) this.#flights.delete(name)
  }

  /** Drops those that have one of these keys. */
  drop(keys: string[]): void {
    for (const key of keys) for (const flight of this.#concerned.get(key) ?? []) flight.isCurrent = false
  }
}
