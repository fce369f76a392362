import { load } from '../core/feature.ts'
import type { SeveralHosts } from './options.ts'

/** A part is its folder and its line here. Delete both, and the service is without it. */
export const parts = await load<SeveralHosts>(
  import('./hosts/index.ts'), // several hosts, of which one takes writes
)
