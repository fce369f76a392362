import type { Job, Load } from './load.ts'
import type { Column, Sample, Table, Target } from './report.ts'
import type { Servers } from './servers.ts'
import type { Run } from './subjects.ts'

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

/** What `sample` measures. */
export const COLUMNS: Column[] = [
  { key: 'perSecond', head: 'requests/s' },
  { key: 'p99', head: 'p99 ms', digits: 2 },
  { key: 'processor', head: 'processor µs a request', digits: 1 },
]

/** Loads a subject, after a second of warming up. Throws for an answer that is no 200. */
export async function sample(run: Run, load: Load, job: Omit<Job, 'connections'>): Promise<Sample> {
  const loaded = { ...job, connections: CONNECTIONS }
  await load.run({ ...loaded, seconds: 1 })
  const before = run.processorMs()
  const { perSecond, p99, requests, non200 } = await load.run(loaded)
  if (non200 > 0) throw new Error(`${non200} of ${requests} answers were not 200`)
  return { perSecond, p99, processor: ((run.processorMs() - before) / requests) * 1_000 }
}
