import type { Cluster, Redis } from 'ioredis'
import { type Command, getAll, newToken, runAll } from './commands.ts'
import { entryOf, valueIn } from './entry.ts'
import type { Failures } from './failures.ts'
import { Invalidations, MIN_LIFE_MS } from './invalidations.ts'

/** One refresh of a stale entry at a time, of all replicas; the next one may try after this long. */
const REFRESH_MS = 10_000

/** The keys of Redis that a call is about. */
export interface Keys {
  entry: string
  /** Is there while the entry is fresh: Redis counts the time, because the clocks of two replicas differ. */
  fresh?: string | undefined
  /** Of the whole cache, the function, and its references. */
  versions: string[]
}

/** What Redis knew. */
export interface Found {
  /** The encoded value, if it is valid. */
  encoded: Buffer | undefined
  isFresh: boolean
  /** Of the versions; undefined for those that are absent. */
  tokens: (string | undefined)[]
}

/** How long an entry is fresh, and for how much longer it is kept. */
export interface Times {
  ttlMs: number
  staleMs: number
}

/** Entries that are valid for as long as the versions which they were loaded under are those that Redis has. */
export class Versions {
  readonly invalidations: Invalidations
  readonly #redis: Redis | Cluster
  readonly #failures: Failures
  /** No entry outlives its versions: the longest time of all entries, and more. */
  #lifeMs = MIN_LIFE_MS

  constructor(redis: Redis | Cluster, everything: string, failures: Failures) {
    this.#redis = redis
    this.#failures = failures
    this.invalidations = new Invalidations(redis, everything, failures)
  }

  /** One trip. Undefined when Redis does not answer, or what it would answer is known to be out of date. */
  async read({ entry, fresh, versions }: Keys): Promise<Found | undefined> {
    if (this.invalidations.concerns([entry, ...versions])) return undefined
    try {
      const [stored, ...rest] = await getAll(this.#redis, fresh ? [entry, fresh, ...versions] : [entry, ...versions])
      this.#failures.worked('read')
      const isFresh = !fresh || rest.shift() !== null
      const tokens = rest.map((token) => token?.toString('latin1'))
      const isKnown = tokens.every((token) => token !== undefined)
      return { encoded: stored && isKnown ? valueIn(stored, tokens) : undefined, isFresh, tokens }
    } catch (err) {
      this.#failures.failed('read', err)
      return undefined
    }
  }

  /**
   * Places tokens where there were none. True if all are there; false if another load was first; undefined if Redis
   * refuses.
   */
  async place(versions: string[], found: Found['tokens'], tokens: string[]): Promise<boolean | undefined> {
    const commands = versions.flatMap((version, n): Command[] => {
      return found[n] === undefined ? [['set', version, tokens[n] as string, 'PX', this.#lifeMs, 'NX']] : []
    })
    if (commands.length === 0) return true
    const outcomes = await runAll(this.#redis, commands)
    const err = outcomes.find(([err]) => err)?.[0]
    if (!err) return outcomes.every(([, answer]) => answer !== null)
    this.#failures.failed('write', err)
    return undefined
  }

  /** To be told before anything is written: a version that another entry needs must not have a shorter life. */
  outlive({ ttlMs, staleMs }: Times): void {
    this.#lifeMs = Math.max(this.#lifeMs, ttlMs + staleMs + MIN_LIFE_MS)
  }

  /** Resolves when Redis has it, or has failed to take it. Does not reject. */
  async write({ entry, fresh, versions }: Keys, tokens: string[], encoded: Buffer, times: Times): Promise<void> {
    this.outlive(times)
    const { ttlMs, staleMs } = times
    const commands: Command[] = [
      ['set', entry, entryOf(tokens, encoded), 'PX', ttlMs + staleMs],
      ...versions.map((version): Command => ['pexpire', version, this.#lifeMs]),
    ]
    if (fresh) commands.push(['set', fresh, '', 'PX', ttlMs])
    const err = (await runAll(this.#redis, commands)).find(([err]) => err)?.[0]
    if (err) this.#failures.failed('write', err)
    else this.#failures.worked('write')
  }

  /** Whether this replica is the one that refreshes a stale entry. The others take it for fresh meanwhile. */
  async claim(fresh: string): Promise<boolean> {
    const [[err, answer] = [null]] = await runAll(this.#redis, [['set', fresh, '', 'PX', REFRESH_MS, 'NX']])
    if (err) this.#failures.failed('write', err)
    return answer === 'OK'
  }

  /** A new token for each version that has none. */
  static complete(tokens: Found['tokens']): string[] {
    return tokens.map((token) => token ?? newToken())
  }
}
