import { DiagLogLevel, diag } from '@opentelemetry/api'
import type { FastifyBaseLogger } from 'fastify'
import { failureLog } from '../core/retry.ts'

/** Characters of a message that tell one kind from another. */
const KIND = 40

/** What the SDK has to say is in the service's log: warnings once a minute, and the rest if `OTEL_LOG_LEVEL` asks for it. */
export function tellOfSdk(log: FastifyBaseLogger, level = 'WARN'): void {
  const { failed } = failureLog(log, 'tracing')
  const warn = (message: string) => failed({ message }, {}, message.replace(/\d+/g, '').slice(0, KIND))
  const logLevel = DiagLogLevel[level.toUpperCase() as keyof typeof DiagLogLevel] ?? DiagLogLevel.WARN
  const debug = (detail: string) => log.debug({ detail }, 'tracing')
  const info = (detail: string) => log.info({ detail }, 'tracing')
  diag.setLogger({ error: warn, warn, info, debug, verbose: debug }, { logLevel, suppressOverrideMessage: true })
}
