import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { startRedis } from '../../dev/redis.ts'
import { type App, build, connected } from '../support/app.ts'
import { within } from '../support/helper.ts'

/** No command takes this long, on a machine however busy: whoever waits for one that is not answered waits longer. */
export const PATIENT_MS = 20_000

/** What these tests give to `define`. */
export interface Options {
  ttl?: unknown
  stale?: unknown
  references?: unknown
  [more: string]: unknown
}

/** A replica with a cached function that counts its loads, whose answer is `value` after 20 ms. */
export async function replica(t: Test, REDIS_URL: string, options: Options = {}, timeoutMs = PATIENT_MS) {
  const env = { REDIS_URL, REDIS_COMMAND_TIMEOUT_MS: String(timeoutMs), MIGRATIONS: 'off' }
  const app = await connected(await build(t, env))
  const state = {
    app,
    loads: 0,
    value: 'first' as unknown,
    loading: () => sleep(20) as Promise<unknown>,
    get: async (_argument: unknown): Promise<unknown> => undefined,
    invalidate: (reference: string | string[]) => app.cache.invalidate('thing', reference),
  }
  const references = (id: string) => [`thing:${id}`]
  const given = { ttl: 60, references, ...options } as { ttl: number }
  const cache = app.cache.define('thing', given, async (_argument: unknown): Promise<unknown> => {
    state.loads++
    const { value } = state
    await state.loading()
    return value
  })
  state.get = cache.thing
  return state
}

export async function ownRedis(t: Test, settings: Record<string, string> = {}) {
  const redis = await startRedis({ settings })
  t.teardown(() => redis.close())
  return redis
}

/** What one call answers, and after how many milliseconds. */
export async function timed(get: (id: string) => Promise<unknown>, id = 'a') {
  const started = performance.now()
  return { answer: await within(get(id), () => id), ms: performance.now() - started }
}

/** The lines of failures, or those with this message. */
export const lines = ({ logs }: App, message = 'cache failed') => logs.filter(({ msg }) => msg === message)

/** A load that waits until it is let go. `begun` resolves when it runs. */
export function gate() {
  const begun = Promise.withResolvers<void>()
  const open = Promise.withResolvers<void>()
  const loading = () => {
    begun.resolve()
    return open.promise
  }
  return { begun: begun.promise, open: open.resolve, loading }
}
