import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { isPermanent, type Reason, reasonOf, redact } from './reasons.ts'

/**
 * Retries are at most this far apart: together with what health remembers of a failure, a return is seen in a second.
 */
const MAX_DELAY_MS = 700
const REPEAT_LOG_MS = 60_000

/** Exponential backoff, capped, with jitter so that replicas do not retry in step. Milliseconds. */
export function backoff(attempt: number, maxDelayMs = MAX_DELAY_MS): number {
  return Math.min(maxDelayMs, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2)
}

/** Logs a failure when its reason changes, and once a minute while it lasts. */
export function failureLog(
  log: FastifyBaseLogger,
  message: string,
): { failed(err: unknown, details?: object): void; over(): void } {
  let last: { reason: Reason; at: number } | undefined
  return {
    failed(err, details) {
      const reason = reasonOf(err)
      if (last?.reason === reason && performance.now() - last.at < REPEAT_LOG_MS) return
      last = { reason, at: performance.now() }
      log.warn({ reason, ...details, err: redact(err) }, message)
    },
    over() {
      last = undefined
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
