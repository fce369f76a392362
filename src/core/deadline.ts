/** A deadline runs in this many parts, of which a pause of the process uses up one at the most. */
const PARTS = 4

/**
 * Calls `late` after `ms` milliseconds in which the process ran, unless the timer is cleared before. After a pause of the
 * process (a long computation, SIGSTOP) Node runs the timers that are due before it reads the answers that have arrived.
 * So `late` waits until those are read: a deadline measures the backend.
 */
export function deadline(ms: number, late: () => void): NodeJS.Timeout {
  let left = PARTS
  const timer: NodeJS.Timeout = setTimeout(() => {
    if (--left > 0) timer.refresh()
    else setImmediate(late)
  }, ms / PARTS)
  return timer
}

/** Aborts at the deadline, with an error whose reason is `timeout`; keeps no process alive. */
export function deadlineSignal(ms: number): AbortSignal {
  const controller = new AbortController()
  const error = new DOMException(`no answer within ${ms} ms`, 'TimeoutError')
  deadline(ms, () => controller.abort(error)).unref()
  return controller.signal
}
