import type { Cluster, Redis } from 'ioredis'
import { type Command, newToken, type Outcome, runAll } from './commands.ts'
import type { Failures } from './failures.ts'

/** More than these are owed as one that counts for every entry. */
const MAX_OWED = 10_000
/** So are those that one has been owed for this long. */
const MAX_OWED_MS = 3_600_000
/** Commands in one trip. */
const BATCH = 200
const RETRY_MS = 1_000
/**
 * An invalidation keeps its version this long, which is longer than any load that began before it can take to place
 * one of its own: an entry that is stored later prolongs it.
 */
export const MIN_LIFE_MS = 600_000

interface Debt {
  since: number
  /** An entry is removed; a version is replaced. */
  removes: boolean
}

/**
 * Replaces versions, which makes each entry that has the old ones unread, on every replica. What Redis did not take is
 * owed: this process believes it at once, and Redis gets it when it is back, gently.
 */
export class Invalidations {
  readonly #redis: Redis | Cluster
  readonly #failures: Failures
  /** The version that every entry has. */
  readonly #everything: string
  readonly #owed = new Map<string, Debt>()
  /** A try to settle that is due or under way. */
  #next: NodeJS.Timeout | undefined
  #triedAt = Number.NEGATIVE_INFINITY

  constructor(redis: Redis | Cluster, everything: string, failures: Failures) {
    this.#redis = redis
    this.#everything = everything
    this.#failures = failures
    redis.on('ready', () => this.#settleLater())
  }

  /** How many Redis has not confirmed. */
  get owed(): number {
    return this.#owed.size
  }

  /** Whether one of these keys is out of date in Redis. */
  concerns(keys: string[]): boolean {
    return this.#owed.size > 0 && (this.#owed.has(this.#everything) || keys.some((key) => this.#owed.has(key)))
  }

  /** Resolves when Redis has confirmed it, or has failed to. Does not reject. */
  async replace(versions: string[]): Promise<void> {
    await this.#settle(this.#owe(versions, false))
  }

  /** The same, of an entry. */
  async remove(entry: string): Promise<void> {
    await this.#settle(this.#owe([entry], true))
  }

  /** What is owed now for these: their keys, or that of everything. */
  #owe(keys: string[], removes: boolean): string[] {
    const debt = { since: performance.now(), removes }
    for (const key of keys) this.#owed.set(key, debt)
    const isTooMuch = this.#owed.size > MAX_OWED || this.#owed.has(this.#everything)
    return isTooMuch ? this.#oweEverything() : keys
  }

  /** The conservative answer: no entry of before counts any more. */
  #oweEverything(): string[] {
    if (!this.#owed.has(this.#everything)) {
      this.#failures.failed('invalidate', new Error('Too many are owed: the whole cache is invalidated'))
    }
    this.#owed.clear()
    this.#owed.set(this.#everything, { since: performance.now(), removes: false })
    return [this.#everything]
  }

  /** In batches, until Redis takes none of one. What it has not taken is tried again. */
  async #settle(keys: string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += BATCH) {
      const batch = keys.slice(at, at + BATCH)
      const debts = batch.map((key) => this.#owed.get(key))
      const outcomes = await this.#run(batch.map((key, n) => this.#command(key, debts[n])))
      for (const [n, [err]] of outcomes.entries()) this.#settled(batch[n] as string, debts[n], err)
      const failed = outcomes.filter(([err]) => err).length
      if (failed > 0) this.#settleLater()
      if (failed === batch.length) return
      if (failed === 0) this.#failures.worked('invalidate')
    }
  }

  #command(key: string, debt: Debt | undefined): Command {
    return debt?.removes ? ['del', key] : ['set', key, newToken(), 'PX', MIN_LIFE_MS]
  }

  /** A full Redis refuses SET and accepts DEL. A version that is absent makes an entry unread too. */
  async #run(commands: Command[]): Promise<Outcome[]> {
    const outcomes = await runAll(this.#redis, commands)
    const refused = commands.flatMap(([, key], n) => (outcomes[n]?.[0]?.message.startsWith('OOM') ? [{ key, n }] : []))
    if (refused.length === 0) return outcomes
    const removed = await runAll(
      this.#redis,
      refused.map(({ key }): Command => ['del', key as string]),
    )
    for (const [index, { n }] of refused.entries()) outcomes[n] = removed[index] as Outcome
    return outcomes
  }

  #settled(key: string, debt: Debt | undefined, err: Error | null): void {
    if (err) this.#failures.failed('invalidate', err)
    // It may have been invalidated again meanwhile.
    if (!debt || this.#owed.get(key) !== debt) return
    this.#owed.delete(key)
    // Behind the others, which may be on a server that works.
    if (err) this.#owed.set(key, debt)
  }

  /** At once, and then every second. */
  #settleLater(): void {
    if (this.#owed.size === 0 || this.#next || this.#redis.status !== 'ready') return
    const waitMs = Math.max(0, this.#triedAt + RETRY_MS - performance.now())
    this.#next = setTimeout(async () => {
      this.#triedAt = performance.now()
      const isOld = this.#owed.values().some(({ since }) => this.#triedAt - since > MAX_OWED_MS)
      await this.#settle(isOld ? this.#oweEverything() : [...this.#owed.keys()])
      this.#next = undefined
      this.#settleLater()
    }, waitMs).unref()
  }
}
