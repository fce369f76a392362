import type { Feature } from '../core/feature.ts'
import { answers } from './answers.ts'
import plugin from './database.ts'
import routes from './details.ts'
import { parts } from './parts.ts'
import { reasons } from './reasons.ts'
import { contradictions, problems, secrets, settings } from './settings.ts'

/** PostgreSQL: one pool, Kysely over it, and a health check on a connection of its own. */
const database: Feature = {
  name: 'database',
  settings,
  secrets,
  problems,
  contradictions,
  reasons,
  answers,
  plugin,
  routes,
  metrics: () => import('./metrics.ts'),
  parts,
}

export default database
