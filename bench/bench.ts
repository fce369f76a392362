import type { Load } from './load.ts'
import type { Table, Target } from './report.ts'
import type { Servers } from './servers.ts'

/** What a measurement is given. */
export interface Bench {
  servers: Servers
  load: Load
  quick: boolean
}

/** What it gives back: `targets` are those of the issue that it can tell of. */
export interface Measured {
  table: Table
  targets: Target[]
}

export const CONNECTIONS = 64
