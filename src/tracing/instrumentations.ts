import { TraceFlags, trace } from '@opentelemetry/api'
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis'
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { Redis } from 'ioredis'
import pg from 'pg'
import { inBackground } from '../core/background.ts'
import { bounded } from './sendable.ts'

type Method = (this: object, ...args: unknown[]) => unknown

/** What the instrumentations patch, and what is to become of a call of it. */
const METHODS: [prototype: object, name: string, choose?: (patched: Method, original: Method) => Method][] = [
  [pg.Client.prototype, 'query', whereSampled],
  [pg.Client.prototype, 'connect', ofNobody],
  [pg.Pool.prototype, 'connect', whereSampled],
  [pg.Pool.prototype, 'end'],
  [Redis.prototype, 'sendCommand', whereSampled],
  [Redis.prototype, 'connect', ofNobody],
]

/**
 * Spans of queries, commands, and requests of `fetch`. The instrumentations would wait for the modules to be loaded:
 * these are, and in the build there are none. So each patches what it is given, as `getModuleDefinitions()` is meant for.
 * What belongs to no trace makes no span. Returns what undoes it.
 */
export function instrument(): () => void {
  const before = METHODS.map(([prototype, name, choose]) => {
    const methods = prototype as Record<string, Method>
    return { methods, name, choose, original: methods[name] as Method }
  })
  const options = { enabled: false, requireParentSpan: true }
  const [ofPg, ofPool] = new PgInstrumentation({
    ...options,
    // The text of many rows has megabytes, and two thousand spans can wait for the collector.
    requestHook: (span, { query }) => span.setAttribute('db.query.text', bounded(query.text)),
  }).getModuleDefinitions()
  const [ofRedis] = new IORedisInstrumentation({
    ...options,
    dbStatementSerializer: (command) => command,
  }).getModuleDefinitions()
  ofPg?.patch?.(pg)
  ofPool?.patch?.(pg.Pool)
  ofRedis?.patch?.(Redis)
  for (const { methods, name, choose, original } of before) {
    if (choose) methods[name] = choose(methods[name] as Method, original)
  }
  const undici = new UndiciInstrumentation({ requireParentforSpans: true })
  return () => {
    for (const { methods, name, original } of before) methods[name] = original
    undici.disable()
  }
}

/** Where few traces are kept, most spans would be made for nothing. */
function whereSampled(patched: Method, original: Method): Method {
  return function (...args) {
    // Not whether it is recorded: what a request has begun can go on when its own span is over.
    const flags = trace.getActiveSpan()?.spanContext().traceFlags ?? TraceFlags.NONE
    return ((flags & TraceFlags.SAMPLED) === 0 ? original : patched).apply(this, args)
  }
}

/** A connection serves many requests, and its events are none of the one's that happened to open it. */
function ofNobody(_: Method, original: Method): Method {
  return function (...args) {
    return inBackground(() => original.apply(this, args))
  }
}
