import type { FastifyBaseLogger } from 'fastify'
import { reasonOf, redact } from '../core/reasons.ts'
import { failureLog } from '../core/retry.ts'
import { CLOSED } from './commands.ts'

/** What can fail: three of them ask Redis, the others run what `define` was given. */
export type Part = 'read' | 'write' | 'invalidate' | 'refresh' | 'key' | 'references' | 'ttl' | 'value' | 'listener'

/** Counts what fails, and logs it, each kind once a minute, and when Redis works again. */
export class Failures {
  readonly counts = new Map<Part, number>()
  readonly #log: FastifyBaseLogger
  readonly #failures: ReturnType<typeof failureLog>
  readonly #failing = new Set<Part>()

  constructor(log: FastifyBaseLogger) {
    this.#log = log
    this.#failures = failureLog(log, 'cache failed')
  }

  failed(part: Part, err: unknown, cache?: string): void {
    this.counts.set(part, (this.counts.get(part) ?? 0) + 1)
    const { code, message } = redact(err)
    // Away is away, whatever was asked.
    const kind = err === CLOSED ? message : [part, cache, reasonOf(err), code ?? message.split(' ', 1)[0]].join(' ')
    if (this.#failures.failed(err, { part, cache }, kind)) this.#failing.add(part)
  }

  /** A line follows on a line: also what fails and works in turns is told of once a minute. */
  worked(part: Part): void {
    if (this.#failing.delete(part)) this.#log.info({ part }, 'cache works again')
  }
}
