import type { Redis, RedisOptions } from 'ioredis'
import { backoff } from '../core/retry.ts'
import { serves } from './serves.ts'

const MAX_RECONNECT_DELAY_MS = 500
/** A connection that ends sooner is one more failure: a server that refuses right after the greeting is not stormed. */
const STEADY_MS = 1_000
/** The wait between two looks whether the address leads to another server by now. */
const LOOK_AGAIN_MS = 500

/** Milliseconds. */
export const reconnectDelay = (attempt: number) => backoff(attempt, MAX_RECONNECT_DELAY_MS)

/**
 * The client that `make` makes. Each further connection of it has the options that `make` gives by then. After a
 * failover the old connection leads to a replica: it is left as soon as a new one takes writes, and serves reads until
 * then. A duplicate has all of this for itself, and keeps the options that it is `given`.
 */
export function presentClient(make: () => Redis, given: RedisOptions = {}): Redis {
  const client = inItsDatabase(make())
  const { options } = client // its connector has the same
  let attempts = 0
  let readyAt = Number.POSITIVE_INFINITY
  let isLooking = false
  let looksAt = 0

  async function look(): Promise<void> {
    if (isLooking || performance.now() < looksAt) return
    isLooking = true
    const since = readyAt
    // It may have reconnected by itself meanwhile.
    if ((await takesWrites(make())) && readyAt === since) client.disconnect(true)
    isLooking = false
    looksAt = performance.now() + LOOK_AGAIN_MS
  }

  const own: RedisOptions = {
    // ioredis counts from the start after each greeting.
    retryStrategy() {
      attempts = performance.now() - readyAt > STEADY_MS ? 1 : attempts + 1
      readyAt = Number.POSITIVE_INFINITY
      return reconnectDelay(attempts)
    },
    reconnectOnError({ message }) {
      if (/^(READONLY|MASTERDOWN) /.test(message)) void look()
      return false
    },
    ...given,
  }
  const renew = () => {
    for (const name of Object.keys(options)) delete options[name as keyof RedisOptions]
    Object.assign(options, make().options, own)
  }
  Object.assign(options, own)
  client.on('ready', () => {
    readyAt = performance.now()
  })
  client.duplicate = (override) => presentClient(make, { ...given, ...override })
  if (given.lazyConnect === false) client.connect(() => {})
  return client.on('reconnecting', renew).on('end', renew)
}

/**
 * ioredis says `ready` after a SELECT that failed or timed out, and goes on in database 0 (ioredis issue 1213). Such a
 * connection ends instead.
 */
function inItsDatabase(client: Redis): Redis {
  return client.on('error', () => {
    if (client.status !== 'connect') return
    client.disconnect(true)
    client.status = 'close' // ioredis makes no other `ready`
  })
}

/** Whether a new connection leads to a server that takes writes. */
function takesWrites(other: Redis): Promise<boolean> {
  inItsDatabase(other)
  Object.assign(other.options, { retryStrategy: null, sentinelRetryStrategy: null, failoverDetector: false })
  const answer = other.connect().then(() => serves(other))
  return answer
    .then(
      () => true,
      () => false,
    )
    .finally(() => other.disconnect())
}
