import type { FastifyBaseLogger } from 'fastify'
import type { Cluster, Redis } from 'ioredis'
import { failureLog } from '../core/retry.ts'
import { masters } from '../redis/client.ts'

/** An index keeps an expired entry this long: the clocks of two replicas may differ, and entries are written later. */
const SLACK_MS = 60_000
/** An invalidation that failed is tried again this often. */
const OWED_RETRY_MS = 1_000

/**
 * `until`: milliseconds since the epoch. It is part of the value, because a second command for it would cost as much
 * again.
 */
interface Stored {
  until: number
  value: unknown
}

/**
 * A storage for async-cache-dedupe over Redis 7 or newer. The package's own Redis storage can fail a call (PTTL) or
 * make it wait for several commands, and can store a value that no invalidation finds.
 *
 * No method rejects, and only `get` waits for Redis: a call takes the loader's time and one command's at most. An entry
 * is added to the index of each of its references before it is written, and stays only if every index has it; a stale
 * index entry is harmless.
 */
export class RedisStorage {
  readonly #redis: Redis | Cluster
  readonly #prefix: string
  readonly #failures: ReturnType<typeof failureLog>
  readonly #ttls = new Map<string, number>()
  readonly #owed = new Set<string>()
  #again: NodeJS.Timeout | undefined

  constructor(redis: Redis | Cluster, prefix: string, log: FastifyBaseLogger) {
    this.#redis = redis
    this.#prefix = prefix
    this.#failures = failureLog(log, 'cache failed')
    // Entries whose invalidation failed while Redis was away may still be in it.
    redis.on('ready', () => void this.#drop([...this.#owed]))
  }

  async get(key: string): Promise<unknown> {
    return this.#attempt(async () => {
      const text = await this.#redis.get(this.#entry(key))
      if (text === null) return undefined
      const { until, value } = JSON.parse(text) as Stored
      // The cache asks for it, if at all, as soon as it has the value.
      this.#ttls.set(key, Math.ceil((until - Date.now()) / 1_000))
      setImmediate(() => this.#ttls.delete(key))
      return value
    })
  }

  /** Seconds that the entry just read has left. */
  async getTTL(key: string): Promise<number> {
    return this.#ttls.get(key) as number
  }

  /** Does not wait: on one connection a later read is answered later. `ttl` in seconds. */
  async set(key: string, value: unknown, ttl: number, references: string | string[] = []): Promise<void> {
    void this.#attempt(async () => {
      const entry = this.#entry(key)
      const text = JSON.stringify({ until: Date.now() + ttl * 1_000, value } satisfies Stored)
      const places = Promise.all(this.#indexes(references).map((index) => this.#enter(index, entry, ttl)))
      // Over one connection the order is kept without a wait.
      if (this.#isSpread) await places
      try {
        await Promise.all([places, this.#redis.set(entry, text, 'EX', ttl)])
      } catch (err) {
        await this.#redis.del(entry)
        throw err
      }
    })
  }

  /** Removes every entry with one of these references, for all replicas; as soon as Redis is back, if it is away. */
  async invalidate(references: string | string[]): Promise<void> {
    await this.#drop(this.#indexes(references))
  }

  async remove(key: string): Promise<void> {
    await this.#attempt(() => this.#redis.del(this.#entry(key)))
  }

  async exists(key: string): Promise<boolean> {
    return (await this.#attempt(() => this.#redis.exists(this.#entry(key)))) === 1
  }

  /** Removes every entry whose key starts with the name. Looks at every key of Redis: not for the path of a request. */
  async clear(name: string): Promise<void> {
    await this.#attempt(async () => {
      const match = `${this.#entry(name).replace(/[*?[\]\\]/g, '\\$&')}*`
      for (const server of masters(this.#redis)) {
        for await (const entries of server.scanStream({ match, count: 1_000 })) await this.#del(entries)
      }
    })
  }

  /** Whether two keys can be on two servers. */
  get #isSpread(): boolean {
    return this.#redis.isCluster
  }

  #entry(key: string): string {
    return `${this.#prefix}cache:${key}`
  }

  #indexes(references: string | string[]): string[] {
    return [references].flat().map((reference) => `${this.#prefix}cache-index:${reference}`)
  }

  /** Gives the entry its place in the index, which outlives it. At once, or the index could expire in between. */
  async #enter(index: string, entry: string, ttl: number): Promise<void> {
    const life = ttl + SLACK_MS / 1_000
    const results = await this.#redis
      .multi()
      .zremrangebyscore(index, 0, Date.now() - SLACK_MS)
      .zadd(index, Date.now() + ttl * 1_000, entry)
      .expire(index, life, 'NX')
      .expire(index, life, 'GT')
      .exec()
    const failed = results?.find(([err]) => err)?.[0]
    if (failed) throw failed
  }

  async #drop(indexes: string[]): Promise<void> {
    const drops = indexes.map((index) => {
      this.#owed.add(index)
      return this.#attempt(async () => {
        const entries = await this.#redis.zrange(index, 0, '-1')
        // They stay in the index until they would have expired: one may be written again in this very moment.
        await this.#del(entries)
        this.#owed.delete(index)
      })
    })
    await Promise.all(drops)
    // A client of several servers is ready also while one of them is away.
    if (this.#owed.size > 0 && !this.#again) {
      this.#again = setTimeout(() => {
        this.#again = undefined
        void this.#drop([...this.#owed])
      }, OWED_RETRY_MS).unref()
    }
  }

  async #del(entries: string[]): Promise<void> {
    if (this.#isSpread) await Promise.all(entries.map((entry) => this.#redis.del(entry)))
    else if (entries.length > 0) await this.#redis.del(entries)
  }

  async #attempt<T>(run: () => Promise<T>): Promise<T | undefined> {
    try {
      return await run()
    } catch (err) {
      this.#failures.failed(err)
      return undefined
    }
  }
}
