import { randomBytes } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { TOKEN_LENGTH } from './entry.ts'

export type Command = [name: string, ...args: (string | number | Buffer)[]]
/** Error and answer of a command. */
export type Outcome = [err: Error | null, answer?: unknown]

/** The values of keys, in one trip. Rejects when one of them cannot be had. */
export function getAll(redis: Redis | Cluster, keys: string[]): Promise<(Buffer | null)[]> {
  // The keys of one MGET must lie on one server.
  if (redis.isCluster) return Promise.all(keys.map((key) => redis.getBuffer(key)))
  return redis.mgetBuffer(keys)
}

/** Runs commands in one trip. Does not reject. */
export async function runAll(redis: Redis | Cluster, commands: Command[]): Promise<Outcome[]> {
  if (!redis.isCluster && commands.length > 1) return (await redis.pipeline(commands).exec()) as Outcome[]
  return Promise.all(
    commands.map(async ([name, ...args]): Promise<Outcome> => {
      try {
        return [null, await redis.call(name, args)]
      } catch (err) {
        return [err as Error]
      }
    }),
  )
}

/** A version that no other is equal to. It is no counter, because one that was evicted would count from the start. */
export const newToken = () => randomBytes((TOKEN_LENGTH / 4) * 3).toString('base64url')
