import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis'
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { Redis } from 'ioredis'
import pg from 'pg'
import { inBackground } from '../core/background.ts'

/**
 * Spans of queries, commands, and requests of `fetch`. The instrumentations would wait for the modules to be loaded:
 * these are, and in the build there are none. So each patches what it is given, as `getModuleDefinitions()` is meant for.
 * What belongs to no trace makes no span. Returns what undoes it.
 */
export function instrument(): () => void {
  const options = { enabled: false, requireParentSpan: true }
  const [ofPg, ofPool] = new PgInstrumentation(options).getModuleDefinitions()
  const [ofRedis] = new IORedisInstrumentation({
    ...options,
    dbStatementSerializer: (command) => command,
  }).getModuleDefinitions()
  const undici = new UndiciInstrumentation({ requireParentforSpans: true })
  const patched = [
    { definition: ofPg, module: pg },
    { definition: ofPool, module: pg.Pool },
    { definition: ofRedis, module: Redis },
  ]
  for (const { definition, module } of patched) definition?.patch?.(module)
  const connects = [connectInBackground(pg.Client.prototype), connectInBackground(Redis.prototype)]
  return () => {
    for (const undo of connects) undo()
    for (const { definition, module } of patched) definition?.unpatch?.(module)
    undici.disable()
  }
}

/** A connection serves many requests, and its events are none of the one's that happened to open it. */
function connectInBackground(prototype: { connect(...args: never[]): unknown }): () => void {
  const { connect } = prototype
  prototype.connect = function (this: object, ...args) {
    return inBackground(() => connect.apply(this, args))
  }
  return () => {
    prototype.connect = connect
  }
}
