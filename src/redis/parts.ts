import { load } from '../core/feature.ts'
import type { Topology } from './client.ts'

/** A part is its folder and its line here. Delete both, and the service is without it. */
export const parts = await load<Topology>(
  import('./sentinel/index.ts'), // a master that Sentinel names
  import('./cluster/index.ts'), // keys spread over several masters
)
