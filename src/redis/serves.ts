import type { Redis } from 'ioredis'
import { service } from '../core/service.ts'

/** Nothing has this key. */
export const KEY = `${service.name}:health`

/** What says nothing of the server: the user may not write this key, or another node of a Cluster has it. */
const NOT_ITS = /^(NOPERM|MOVED|ASK) /

/**
 * Resolves when the server answers and takes writes, in one trip. The key does not exist, so the SET (`XX`) writes
 * nothing; but a server that is full, read-only or without its disk refuses it as it would any other, and PING tells the
 * rest. Where the user may write, and not this key, a second trip asks whether the server is a replica.
 */
export async function serves(redis: Redis, key = KEY): Promise<void> {
  const [answer, write] = await Promise.allSettled([redis.ping(), redis.set(key, '', 'XX')])
  if (answer.status === 'rejected') throw answer.reason
  if (write.status === 'fulfilled') return
  const { message } = write.reason
  if (!NOT_ITS.test(message)) throw write.reason
  // A user that writes other keys. HELLO is allowed to everybody.
  const mayWrite = /^NOPERM .*\bkey/.test(message)
  if (mayWrite && String(await redis.call('HELLO').catch(String)).includes('role,replica'))
    throw new Error('READONLY It is a replica')
}
