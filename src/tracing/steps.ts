import { SpanStatusCode, trace } from '@opentelemetry/api'
import { service } from '../core/service.ts'
import { watchSteps } from '../core/steps.ts'

/** A span for each step of the service's own work, such as a migration, around the spans of what it asks. */
export function traceSteps(): void {
  const tracer = trace.getTracer(service.name)
  watchSteps((name, attributes, run) =>
    tracer.startActiveSpan(name, { attributes }, async (span) => {
      const failed = (err: unknown) => {
        span.recordException(err as Error)
        span.setStatus({ code: SpanStatusCode.ERROR })
      }
      try {
        const outcome = await run()
        const { error } = Object(outcome) as { error?: unknown }
        if (error !== undefined) failed(error)
        return outcome
      } catch (err) {
        failed(err)
        throw err
      } finally {
        span.end()
      }
    }),
  )
}
