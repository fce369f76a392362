import { compose } from '../core/feature.ts'
import type { Topology } from './options.ts'

/** A part is its folder and its line here. Delete both, and the service is without it. */
export const parts = await compose<Topology>(
  import('./sentinel/index.ts'), // a master that Sentinel names
  import('./cluster/index.ts'), // keys spread over several masters
)
