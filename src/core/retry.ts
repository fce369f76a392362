import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { isPermanent, reasonOf, redact, whyFetchFailed } from './reasons.ts'

/**
 * Retries are at most this far apart: together with what health remembers of a failure, a return is seen in a second.
 */
const MAX_DELAY_MS = 700
const REPEAT_LOG_MS = 60_000
/** Lines a minute, whatever their texts hold. */
const MAX_KINDS = 20

/** Exponential backoff, capped, with jitter so that replicas do not retry in step. Milliseconds. */
export function backoff(attempt: number, maxDelayMs = MAX_DELAY_MS): number {
  return Math.min(maxDelayMs, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2)
}

/**
 * Logs a failure of each kind once a minute while it lasts, also when several kinds alternate. The kind is the reason
 * unless it is given. `failed` returns whether it has logged.
 */
export function failureLog(
  log: FastifyBaseLogger,
  message: string,
): { failed(err: unknown, details?: object, kind?: string): boolean; over(): void } {
  const logged = new Map<string, number>()
  return {
    failed(error, details, given) {
      const err = whyFetchFailed(error)
      const reason = reasonOf(err)
      const kind = given ?? reason
      const now = performance.now()
      if (now - (logged.get(kind) ?? Number.NEGATIVE_INFINITY) < REPEAT_LOG_MS) return false
      for (const [old, at] of logged) if (now - at >= REPEAT_LOG_MS) logged.delete(old)
      if (logged.size >= MAX_KINDS) return false
      logged.set(kind, now)
      log.warn({ reason, ...details, err: redact(err) }, message)
      return true
    },
    over() {
      logged.clear()
    },
  }
}

/** Tries until it succeeds. Rejects with an error that no retry can cure, or when the signal aborts. */
export async function retry(
  attempt: () => Promise<void>,
  { signal, log, message }: { signal: AbortSignal; log: FastifyBaseLogger; message: string },
): Promise<void> {
  const failures = failureLog(log, message)
  const succeeds = async () => {
    try {
      await attempt()
      return true
    } catch (err) {
      if (signal.aborted || isPermanent(err)) throw err
      failures.failed(err)
      return false
    }
  }
  for (let tries = 0; !(await succeeds()); tries++) await sleep(backoff(tries), undefined, { signal })
}
