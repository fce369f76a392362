import { problemsThatHold, type Settings, text } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import plugin from './tracing.ts'

/** Those that switch it on, and that a service is most often given. The SDK reads them, and all others, by itself. */
const settings = {
  OTEL_EXPORTER_OTLP_ENDPOINT: text('address of an OpenTelemetry collector, http://localhost:4318; switches traces on'),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: text('the same for traces alone, with the path: http://localhost:4318/v1/traces'),
  OTEL_TRACES_EXPORTER: text('otlp: switches traces on, to the endpoint or to localhost; none: off'),
  OTEL_SDK_DISABLED: text('true: no traces, whatever else is set'),
  OTEL_SERVICE_NAME: text('name of the service in its traces; default: that of package.json'),
  OTEL_TRACES_SAMPLER: text('which traces are kept, such as parentbased_traceidratio; default: parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: text('share of the traces for a sampler by ratio, from 0 to 1'),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

const EXPORTERS = /^(otlp|none)?$/
const PROTOCOLS = /^(grpc|http\/(protobuf|json))?$/
const SAMPLERS = /^((parentbased_)?(always_on|always_off|traceidratio))?$/

/** Spans of requests, and of what they ask of the backends and of other services, sent to an OpenTelemetry collector. */
const tracing: Feature = { name: 'tracing', settings, problems, plugin }

export default tracing

/** What the SDK would only warn of, and replace by a default. */
function problems(env: NodeJS.ProcessEnv): string[] {
  const { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_EXPORTER: exporter } = env
  const protocols = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL']
  const wrong = protocols.filter((name) => !PROTOCOLS.test(env[name] ?? ''))
  return problemsThatHold({
    'OTEL_TRACES_EXPORTER must be otlp or none': !EXPORTERS.test(exporter ?? ''),
    'OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, also with parentbased_ before it':
      !SAMPLERS.test(sampler ?? ''),
    [`${wrong.join(' and ')} must be http/protobuf, http/json or grpc`]: wrong.length > 0,
  })
}
