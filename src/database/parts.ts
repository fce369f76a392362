import { compose } from '../core/feature.ts'
import type { Servers } from './options.ts'

/** A part is its folder and its line here. Delete both, and the service is without it. */
export const parts = await compose<Servers>(
  import('./hosts/index.ts'), // several hosts, of which one takes writes
)
