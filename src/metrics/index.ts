import { flag, type Settings } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import plugin from './metrics.ts'

const settings = { METRICS: flag('serve /metrics for Prometheus') }

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** `/metrics`: what the features tell of themselves, the requests, and the process. */
const metrics: Feature = { name: 'metrics', settings, plugin }

export default metrics
