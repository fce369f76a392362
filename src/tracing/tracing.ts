import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../core/config/settings.ts'
import { agent, traceOfAgent } from './agent.ts'

/**
 * Spans, if OpenTelemetry's variables ask for them, or an agent that was loaded ahead of the service has begun to make
 * some: then the service adds its own to those, and starts no second SDK.
 */
export default fp(
  async function tracing(fastify) {
    const found = agent()
    if (!found && !isOn(fastify.config)) return
    if (found && !found.isReachable) return follow(fastify)
    const [{ traceRequests }, { traceSteps }] = await Promise.all([import('./requests.ts'), import('./steps.ts')])
    if (!found) await (await import('./sdk.ts')).startSdk(fastify)
    traceSteps()
    await traceRequests(fastify)
  },
  { name: 'tracing', fastify: '5.x', dependencies: ['env', 'lifecycle'] },
)

/** As the specification has it: nothing is sent unless an endpoint or an exporter is named. */
function isOn(config: Config): boolean {
  const { OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER: exporter, OTEL_EXPORTER_OTLP_ENDPOINT } = config
  if (/^true$/i.test(OTEL_SDK_DISABLED ?? '') || exporter === 'none') return false
  return Boolean(exporter ?? OTEL_EXPORTER_OTLP_ENDPOINT ?? config.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
}

/** The agent's API is older than the service's, which then sees nothing of it: its ids are in the log nevertheless. */
function follow(fastify: FastifyInstance): void {
  fastify.log.info('the agent has an older OpenTelemetry than the service: its ids are logged, and routes get no span')
  fastify.startTrace = traceOfAgent
}
