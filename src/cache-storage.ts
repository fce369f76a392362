import type { FastifyBaseLogger } from 'fastify'
import { type Cluster, Redis } from 'ioredis'
import { quietly } from './retry.ts'

/** An index keeps what has expired for this long: the clocks of two replicas may differ, and entries are written later. */
const SLACK_MS = 60_000
/** What could not be invalidated is tried again this often. */
const OWED_RETRY_MS = 1_000

/** `until`: milliseconds since the epoch. In the value, since a second command for it would cost as much as the first. */
interface Stored {
  until: number
  value: unknown
}

/**
 * What async-cache-dedupe asks of a storage, over Redis 7 or newer. Its own Redis storage can fail a call (PTTL) or
 * make it wait for several commands, and can store a value that no invalidation will find.
 *
 * No method rejects, and `get` alone waits for Redis: a call takes the loader's time and one command's at the most.
 * An entry is written behind its place in the index of each of its references, and stays only if it has them all: a
 * place too many does no harm.
 */
export class RedisStorage {
  readonly #redis: Redis | Cluster
  readonly #prefix: string
  readonly #quiet: ReturnType<typeof quietly>
  readonly #ttls = new Map<string, number>()
  readonly #owed = new Set<string>()
  #again: NodeJS.Timeout | undefined

  constructor(redis: Redis | Cluster, prefix: string, log: FastifyBaseLogger) {
    this.#redis = redis
    this.#prefix = prefix
    this.#quiet = quietly(log, 'cache failed')
    // What could not be invalidated while Redis was away may still be in it.
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

  /** Does not wait: on the one connection, what is read later is answered later. `ttl` in seconds. */
  async set(key: string, value: unknown, ttl: number, references: string | string[] = []): Promise<void> {
    void this.#attempt(async () => {
      const entry = this.#entry(key)
      const text = JSON.stringify({ until: Date.now() + ttl * 1_000, value } satisfies Stored)
      const places = Promise.all(this.#indexes(references).map((index) => this.#enter(index, entry, ttl)))
      // Keys of different slots are written over different connections.
      if (this.#redis.isCluster) await places
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
      const nodes = this.#redis instanceof Redis ? [this.#redis] : this.#redis.nodes('master')
      for (const node of nodes) {
        for await (const entries of node.scanStream({ match, count: 1_000 })) await this.#del(entries)
      }
    })
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
    // A Cluster is ready also while one of its masters is away.
    if (this.#owed.size > 0 && !this.#again) {
      this.#again = setTimeout(() => {
        this.#again = undefined
        void this.#drop([...this.#owed])
      }, OWED_RETRY_MS).unref()
    }
  }

  async #del(entries: string[]): Promise<void> {
    if (this.#redis.isCluster) await Promise.all(entries.map((entry) => this.#redis.del(entry)))
    else if (entries.length > 0) await this.#redis.del(entries)
  }

  async #attempt<T>(run: () => Promise<T>): Promise<T | undefined> {
    try {
      return await run()
    } catch (err) {
      this.#quiet.failed(err)
      return undefined
    }
  }
}
