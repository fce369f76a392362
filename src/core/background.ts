import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * Calls it as if no request had asked for it: work that serves everybody, and that a request happens to begin, is not a
 * part of that request's trace.
 */
export const inBackground = AsyncLocalStorage.snapshot()
