import { SpanStatusCode, trace } from '@opentelemetry/api'
import { service } from '../core/service.ts'
import { watchSteps } from '../core/steps.ts'

/** A span for each step of the service's own work, such as a migration, around the spans of what it asks. */
export function traceSteps(): void {
  const tracer = trace.getTracer(service.name)
  watchSteps((name, attributes, run) =>
    tracer.startActiveSpan(name, { attributes }, async (span) => {
      const end = (err: unknown) => {
        if (err !== undefined) span.setStatus({ code: SpanStatusCode.ERROR }).recordException(err as Error)
        span.end()
      }
      const outcome = await run().catch((err) => {
        end(err)
        throw err
      })
      end((Object(outcome) as { error?: unknown }).error)
      return outcome
    }),
  )
}
