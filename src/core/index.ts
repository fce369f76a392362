import errors from './errors.ts'
import type { Feature } from './feature.ts'
import health, { settings as healthSettings } from './health/health.ts'
import routes from './health/routes.ts'
import lifecycle, { settings as lifecycleSettings } from './lifecycle.ts'
import limits from './limits/index.ts'

/** The features of every service, whatever its backends are, in the order of boot. */
export default [
  limits,
  { name: 'lifecycle', settings: lifecycleSettings, plugin: lifecycle },
  { name: 'errors', plugin: errors },
  { name: 'requests', metrics: () => import('./metrics.ts') },
  { name: 'health', settings: healthSettings, plugin: health, routes },
] satisfies Feature[]
