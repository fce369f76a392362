import type { Feature } from '../core/feature.ts'
import plugin from './tenants.ts'

/** Tenants that share tables, kept apart by row-level security. */
const tenants: Feature = { name: 'tenants', plugin }

export default tenants
