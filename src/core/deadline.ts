/** A pause of the process uses up one of so many parts of a deadline at the most. */
const PARTS = 4

/**
 * Calls `late` after so many milliseconds of a process that runs, unless the timer is cleared before. A deadline
 * measures the backend: after a pause of the process (a long computation, SIGSTOP) Node runs the timers that are due
 * before it reads the answers that have arrived, so `late` waits until those are read.
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
