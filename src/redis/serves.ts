import type { Redis } from 'ioredis'
import { service } from '../core/service.ts'

/** Nothing has this key. */
export const KEY = `${service.name}:health`

/** What says nothing of the server: the user may not write this key, or another node of a Cluster has it. */
const NOT_ITS = /^(NOPERM|MOVED|ASK) /

/**
 * Resolves when the server answers and takes writes, in one trip. The key does not exist, so the SET (`XX`) writes
 * nothing; but a server that is full, read-only or without its disk refuses it as it would any other, and PING tells the
 * rest.
 */
export async function serves(redis: Redis, key = KEY): Promise<void> {
  const [answer, write] = await Promise.allSettled([redis.ping(), redis.set(key, '', 'XX')])
  if (answer.status === 'rejected') throw answer.reason
  if (write.status === 'rejected' && !NOT_ITS.test(write.reason.message)) throw write.reason
}
