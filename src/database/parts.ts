import { load } from '../core/feature.ts'
import type { SeveralHosts } from './options.ts'

export const parts = await load<SeveralHosts>(
  // A part is its folder and its line here. Delete both, and the service is without it.
  import('./hosts/index.ts'), // several hosts, of which one takes writes
)
