import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import type { FastifyBaseLogger } from 'fastify'
import { failureLog } from '../core/retry.ts'
import { sendable } from './sendable.ts'

const TIMED_OUT = 'Request timed out'

type Result = Parameters<Parameters<SpanExporter['export']>[1]>[0]

/** The exporter of the protocol that the variables name. */
export async function createExporter(env: NodeJS.ProcessEnv, log: FastifyBaseLogger): Promise<SpanExporter> {
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL']
  const { OTLPTraceExporter } = await load(protocol)
  return new ToldExporter(new OTLPTraceExporter(), log)
}

function load(protocol?: string): Promise<{ OTLPTraceExporter: new () => SpanExporter }> {
  if (protocol === 'http/json') return import('@opentelemetry/exporter-trace-otlp-http')
  return import('@opentelemetry/exporter-trace-otlp-proto')
}

/** An exporter that sends what may leave the service alone, and whose failures are in the service's log. */
class ToldExporter implements SpanExporter {
  readonly #exporter: SpanExporter
  readonly #log: FastifyBaseLogger
  readonly #failures: ReturnType<typeof failureLog>
  #isFailing = false

  constructor(exporter: SpanExporter, log: FastifyBaseLogger) {
    this.#exporter = exporter
    this.#log = log
    this.#failures = failureLog(log, 'traces are lost')
  }

  export(spans: ReadableSpan[], done: (result: Result) => void): void {
    this.#exporter.export(spans.map(sendable), (result) => {
      this.#tell(result, spans.length)
      done({ code: 0 }) // of a failure the SDK would tell again, and do nothing else
    })
  }

  shutdown(): Promise<void> {
    return this.#exporter.shutdown()
  }

  #tell({ error }: Result, spans: number): void {
    if (error) {
      // The exporter's own, without a code.
      this.#failures.failed(error, { spans, ...(error.message === TIMED_OUT && { reason: 'timeout' }) }, error.message)
      this.#isFailing = true
    } else if (this.#isFailing) {
      this.#isFailing = false
      this.#failures.over()
      this.#log.info('traces are sent again')
    }
  }
}
