import type { FastifyBaseLogger } from 'fastify'

const REPEAT_LOG_MS = 60_000

/**
 * For a limit that clients can hit at any rate: the first hit is logged at once, those that follow once a minute, with
 * their number by kind.
 */
export function hitLog(log: FastifyBaseLogger, message: string, details: object): (kind: string) => void {
  let hits: Record<string, number> = {}
  let quiet: NodeJS.Timeout | undefined
  const write = () => {
    quiet = undefined
    if (Object.keys(hits).length === 0) return
    log.warn({ ...details, ...hits }, message)
    hits = {}
    quiet = setTimeout(write, REPEAT_LOG_MS).unref()
  }
  return (kind) => {
    hits[kind] = (hits[kind] ?? 0) + 1
    if (!quiet) write()
  }
}
