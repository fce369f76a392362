import { randomBytes } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { TOKEN_LENGTH } from './entry.ts'

export type Command = [name: string, ...args: (string | number | Buffer)[]]
/** Error and answer of a command. */
export type Outcome = [err: Error | null, answer?: unknown]

/** The values of keys, in one trip. Rejects when one of them cannot be had. */
export async function getAll(redis: Redis | Cluster, keys: string[]): Promise<(Buffer | null)[]> {
  try {
    if (redis.status !== 'ready') throw CLOSED
    // The keys of one MGET must lie on one server.
    return await (redis.isCluster ? Promise.all(keys.map((key) => redis.getBuffer(key))) : redis.mgetBuffer(keys))
  } catch (err) {
    throw told(redis, err as Error)
  }
}

/** Runs commands in one trip. Does not reject. */
export async function runAll(redis: Redis | Cluster, commands: Command[]): Promise<Outcome[]> {
  if (redis.status !== 'ready') return commands.map(() => [CLOSED])
  if (!redis.isCluster && commands.length > 1) {
    const outcomes = (await redis.pipeline(commands).exec()) as Outcome[]
    return outcomes.map(([err, answer]) => [err && told(redis, err), answer])
  }
  return Promise.all(
    commands.map(async ([name, ...args]): Promise<Outcome> => {
      try {
        return [null, await redis.call(name, args)]
      } catch (err) {
        return [told(redis, err as Error)]
      }
    }),
  )
}

/** What ioredis says of a connection that is lost or being lost, beside what its status says. */
const LOST = /^Stream isn't writeable|^Reached the max retries per request/
export const CLOSED = new Error('Connection is closed')
const told = (redis: Redis | Cluster, err: Error) => (redis.status !== 'ready' || LOST.test(err.message) ? CLOSED : err)

/** A version that no other is equal to. It is no counter, because one that was evicted would count from the start. */
export const newToken = () => randomBytes((TOKEN_LENGTH / 4) * 3).toString('base64url')
