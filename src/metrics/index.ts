import { Type } from 'typebox'
import { flag, integer, problemsThatHold, type Settings } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import plugin from './metrics.ts'

const settings = {
  METRICS: flag('serve /metrics for Prometheus'),
  METRICS_PORT: Type.Optional(
    integer(undefined, 0, 65_535, 'port of /metrics alone, which an ingress does not publish; default: PORT'),
  ),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** `/metrics`: what the features tell of themselves, the requests, and the process. */
const metrics: Feature = {
  name: 'metrics',
  settings,
  plugin,
  contradictions: ({ METRICS, METRICS_PORT, PORT }) =>
    problemsThatHold({
      'METRICS_PORT needs METRICS=true': METRICS_PORT !== undefined && !METRICS,
      'METRICS_PORT and PORT must differ': METRICS_PORT && METRICS_PORT === PORT,
    }),
}

export default metrics
