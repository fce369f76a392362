import { getMetricsFromIterator, type PromLabels } from 'prom2javascript'
import type { App } from './app.ts'

/** Settings of a service that a scrape can be asked of at once. */
export const OWN = { METRICS: 'true', MIGRATIONS: 'off' }

interface Sample {
  labels: PromLabels
  value?: number
  count?: number
  /** Of a histogram. */
  sum?: number
}

/** The samples of one metric that have these labels. Throws when Prometheus could not read all of the answer. */
export async function samples(app: App, name: string, labels: PromLabels = {}): Promise<Sample[]> {
  const metrics = await getMetricsFromIterator((await app.inject('/metrics')).body.split('\n').values())
  const data: Sample[] = metrics[name]?.data ?? []
  return data.filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
}

/** The one value that has these labels; of a histogram, how many. */
export async function value(app: App, name: string, labels: PromLabels = {}): Promise<number | undefined> {
  const [sample, ...more] = await samples(app, name, labels)
  if (more.length > 0) throw new Error(`${name} has more than one value`)
  return sample?.value ?? sample?.count
}
