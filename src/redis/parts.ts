import { load } from '../core/feature.ts'
import type { Topology } from './client.ts'

export const parts = await load<Topology>(
  // A part is its folder and its line here. Delete both, and the service is without it.
  import('./sentinel/index.ts'), // a master that Sentinel names
  import('./cluster/index.ts'), // keys spread over several masters
)
