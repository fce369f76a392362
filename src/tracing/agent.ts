import type { Context, Span } from '@opentelemetry/api'
import type { Trace } from '../core/requests.ts'

/** What the API of the process keeps, whichever copy has registered it. */
interface Registered {
  version: string
  trace?: object
  context?: { active(): Context }
}

/** The minor version of the API that this project has: the API sees one that was registered by a later one, or its own. */
const API_MINOR = 10
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN')

function registered(): Registered | undefined {
  return (globalThis as Record<symbol, unknown>)[Symbol.for('opentelemetry.js.api.1')] as Registered | undefined
}

/** The SDK that somebody else has started in this process, if there is one, and whether the service's API sees it. */
export function agent(): { isReachable: boolean } | undefined {
  const api = registered()
  if (!api?.trace) return undefined
  return { isReachable: Number(api.version.split('.')[1]) >= API_MINOR }
}

/** The ids of the agent's own span of a request, which is the active one when the request arrives. */
export function traceOfAgent(): Required<Trace> | undefined {
  const span = registered()?.context?.active().getValue(SPAN) as Span | undefined
  return span && traceOfSpan(span)
}

export function traceOfSpan(span: Span): Required<Trace> {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return { traceId, spanId, isSampled: (traceFlags & 1) === 1 }
}
