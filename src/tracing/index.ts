import { problemsThatHold, type Settings, text } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { agent } from './agent.ts'
import plugin from './tracing.ts'

/** Those that switch it on, and that a service is most often given. The SDK reads them, and all others, by itself. */
const settings = {
  OTEL_EXPORTER_OTLP_ENDPOINT: text('address of an OpenTelemetry collector, http://localhost:4318; switches traces on'),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: text('the same for traces alone, with the path: http://localhost:4318/v1/traces'),
  OTEL_EXPORTER_OTLP_HEADERS: text('headers for the collector, such as a token: name=value,name=value'),
  OTEL_EXPORTER_OTLP_PROTOCOL: text('http/protobuf or http/json; default: http/protobuf'),
  OTEL_TRACES_EXPORTER: text('otlp: switches traces on, to the endpoint or to localhost; none: off'),
  OTEL_SDK_DISABLED: text('true: no traces, whatever else is set'),
  OTEL_SERVICE_NAME: text('name of the service in its traces; default: that of package.json'),
  OTEL_RESOURCE_ATTRIBUTES: text('what its traces say of the service besides: name=value,name=value'),
  OTEL_TRACES_SAMPLER: text('which traces are kept, such as parentbased_traceidratio; default: parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: text('share of the traces for a sampler by ratio, from 0 to 1'),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

const EXPORTERS = /^(otlp|none)$/
const PROTOCOLS = /^http\/(protobuf|json)$/
const SAMPLERS = /^(parentbased_)?(always_on|always_off|traceidratio)$/
const SHARES = /^(0|1(\.0+)?|0?\.\d+)$/
const URLS = { test: (value: string) => /^https?:$/.test(URL.parse(value)?.protocol ?? '') }

/** Spans of requests, and of what they ask of the backends and of other services, sent to an OpenTelemetry collector. */
const tracing: Feature = { name: 'tracing', settings, problems, plugin }

export default tracing

/**
 * What the SDK would only warn of, and replace by a default. gRPC is left out: its library loads itself from
 * node_modules, which the build does without. An agent has other values, and reads them by itself.
 */
function problems(env: NodeJS.ProcessEnv): string[] {
  if (agent()) return []
  const wrong = (pattern: Pick<RegExp, 'test'>, ...names: string[]) =>
    names.filter((name) => env[name] && !pattern.test(env[name])).join(' and ')
  const endpoints = wrong(URLS, 'OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  const protocols = wrong(PROTOCOLS, 'OTEL_EXPORTER_OTLP_PROTOCOL', 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL')
  const samplers = 'always_on, always_off or traceidratio, also with parentbased_ before it'
  return problemsThatHold({
    [`${endpoints} must be a URL that begins with http:// or https://`]: endpoints,
    [`${protocols} must be http/protobuf or http/json`]: protocols,
    'OTEL_TRACES_EXPORTER must be otlp or none': wrong(EXPORTERS, 'OTEL_TRACES_EXPORTER'),
    [`OTEL_TRACES_SAMPLER must be ${samplers}`]: wrong(SAMPLERS, 'OTEL_TRACES_SAMPLER'),
    'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1': wrong(SHARES, 'OTEL_TRACES_SAMPLER_ARG'),
  })
}
