/** A deadline looks this often whether the process stands still. */
const LOOKS = 8

/**
 * Calls `late` after `ms` milliseconds, unless the timer is cleared before. After a pause of the process (a long
 * computation, SIGSTOP) Node runs the timers that are due before it reads the answers that have arrived (as in undici
 * issue 3410). So `late` waits until those are read: a deadline measures the backend. When the pause ends it, it waits
 * an eighth of the time more, for what takes several answers, such as a connection that is being opened.
 */
export function deadline(ms: number, late: () => void): NodeJS.Timeout {
  const every = ms / LOOKS
  let looked = performance.now()
  const end = looked + ms
  let more = 1
  const timer: NodeJS.Timeout = setTimeout(() => {
    const now = performance.now()
    const hasPaused = now - looked > 2 * every
    looked = now
    if (now < end || (hasPaused && more-- > 0)) timer.refresh()
    else setImmediate(late)
  }, every)
  return timer
}

/** Aborts at the deadline, with an error whose reason is `timeout`; keeps no process alive. */
export function deadlineSignal(ms: number): AbortSignal {
  const controller = new AbortController()
  const error = new DOMException(`no answer within ${ms} ms`, 'TimeoutError')
  deadline(ms, () => controller.abort(error)).unref()
  return controller.signal
}
