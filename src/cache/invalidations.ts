import type { Cluster, Redis } from 'ioredis'
import { inBackground } from '../core/background.ts'
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
type Debts = [key: string, debt: Debt][]

/**
 * Replaces versions, which makes each entry that has the old ones unread, on every replica. What Redis did not take is
 * owed: this process believes it from then on, and Redis gets it when it is back, gently.
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

  /** How many Redis has not taken. */
  get owed(): number {
    return this.#owed.size
  }

  /** Whether one of these keys is known to be out of date in Redis. */
  concerns(keys: string[]): boolean {
    return this.#owed.size > 0 && (this.#owed.has(this.#everything) || keys.some((key) => this.#owed.has(key)))
  }

  /** Resolves when Redis has taken it, or it is owed. Does not reject. */
  async replace(versions: string[]): Promise<void> {
    await this.#settle(debts(versions, false))
  }

  /** The same, of an entry. */
  async remove(entry: string): Promise<void> {
    await this.#settle(debts([entry], true))
  }

  /** In batches, until Redis takes none of one. */
  async #settle(debts: Debts): Promise<void> {
    for (let at = 0; at < debts.length; at += BATCH) {
      const batch = debts.slice(at, at + BATCH)
      const known = batch.map(([key]) => this.#owed.get(key))
      const outcomes = await this.#run(batch.map(([key, debt]) => commandFor(key, debt)))
      const failed = batch.filter((_, n) => outcomes[n]?.[0])
      for (const [n, [err]] of outcomes.entries()) {
        const [key] = batch[n] as Debts[number]
        if (err) this.#failures.failed('invalidate', err)
        // It may have been invalidated again meanwhile.
        else if (this.#owed.get(key) === known[n]) this.#owed.delete(key)
      }
      const isOver = failed.length === batch.length
      for (const debt of isOver ? debts.slice(at) : failed) this.#owe(...debt)
      if (isOver) break
      if (failed.length === 0) this.#failures.worked('invalidate')
    }
    this.#settleLater()
  }

  /** Behind the others, which may be on a server that works. */
  #owe(key: string, debt: Debt): void {
    const isCovered = this.#owed.has(this.#everything)
    this.#owed.delete(key)
    this.#owed.set(key, debt)
    if (!isCovered && this.#owed.size > MAX_OWED) {
      this.#failures.failed('invalidate', new Error('Too many are owed: the whole cache is invalidated'))
    }
    if (isCovered || this.#owed.size > MAX_OWED) this.#oweEverything()
  }

  /** The conservative answer: no entry of before counts any more. */
  #oweEverything(): void {
    this.#owed.clear()
    this.#owed.set(this.#everything, { since: performance.now(), removes: false })
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

  /** At once, and then every second. */
  #settleLater(): void {
    if (this.#owed.size === 0 || this.#next || this.#redis.status !== 'ready') return
    const waitMs = Math.max(0, this.#triedAt + RETRY_MS - performance.now())
    this.#next = inBackground(() => setTimeout(() => this.#settleOwed(), waitMs).unref())
  }

  async #settleOwed(): Promise<void> {
    this.#triedAt = performance.now()
    if (this.#owed.values().some(({ since }) => this.#triedAt - since > MAX_OWED_MS)) this.#oweEverything()
    await this.#settle([...this.#owed])
    this.#next = undefined
    this.#settleLater()
  }
}

function debts(keys: string[], removes: boolean): Debts {
  const debt = { since: performance.now(), removes }
  return keys.map((key) => [key, debt])
}

function commandFor(key: string, { removes }: Debt): Command {
  return removes ? ['del', key] : ['set', key, newToken(), 'PX', MIN_LIFE_MS]
}
