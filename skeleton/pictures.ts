/**
 * `npm test -- skeleton/pictures.ts`: draws the pictures of docs/observability.md, with the expressions of the dashboard
 * over the data of a run in which three replicas lose their database, and then have too few connections.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { dashboard, substituted } from '../test/support/dashboard.ts'
import { ROOT } from '../test/support/helper.ts'
import { Service } from '../test/support/process.ts'
import { Prometheus } from '../test/support/prometheus.ts'
import { ask, ROUTES, SHIPPED } from '../test/support/tools.ts'
import { type Drawn, draw, type Span } from './draw.ts'

const FOLDER = path.join(ROOT, 'docs/pictures')
/** Before, while and after something fails. */
const PHASE_MS = 40_000

t.setTimeout(10 * PHASE_MS)
const prometheus = await Prometheus.start(t)
const postgres = await startPostgres()
t.teardown(() => postgres.close())
const redis = await startRedis()
t.teardown(() => redis.close())
const urls: string[] = []
for (const instance of ['replica-1', 'replica-2', 'replica-3']) {
  const backends = { DATABASE_URL: postgres.url, REDIS_URL: redis.url }
  const limits = { DATABASE_POOL_MAX: '5', DATABASE_CONNECT_TIMEOUT_MS: '1000' }
  const NODE_OPTIONS = `${ROUTES.NODE_OPTIONS} --max-old-space-size=128`
  const service = new Service(t, { ...SHIPPED, ...backends, ...limits, NODE_OPTIONS, METRICS: 'true' })
  await service.logged('ready')
  urls.push(await service.url())
  prometheus.scrape(instance, urls.at(-1) as string)
}

/** So many callers, each of whom asks each replica again and again. */
function callers(count: number, route: () => string): () => void {
  let stopped = false
  const call = async () => {
    while (!stopped) {
      for (const url of urls) await ask(url + route())
      await sleep(20 + Math.random() * 60)
    }
  }
  for (let caller = 0; caller < count; caller++) void call()
  return () => {
    stopped = true
  }
}

/** The panels of these rows, while the fault was there, and before and after. */
async function picture(name: string, titles: string[], fault: Span['fault']): Promise<void> {
  const span = { fromMs: fault.fromMs - PHASE_MS + 10_000, toMs: fault.toMs + PHASE_MS - 10_000, fault }
  const of = (index: number) => dashboard.panels.findLast(({ type }, at) => type === 'row' && at <= index)
  const panels = dashboard.panels.filter(({ type }, index) => type !== 'row' && titles.includes(of(index)?.title ?? ''))
  const drawn: Drawn[] = []
  for (const panel of panels) {
    const series: Drawn['series'] = []
    for (const { expr, legendFormat } of panel.targets ?? []) {
      for (const { metric, values } of await prometheus.queryRange(substituted(expr), span.fromMs, span.toMs)) {
        series.push({ name: legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? '').trim(), values })
      }
    }
    drawn.push({ panel, series })
  }
  const rows = dashboard.panels.filter(({ type, title }) => type === 'row' && titles.includes(title))
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(path.join(FOLDER, `${name}.svg`), draw(drawn, rows, span))
}

/** When something is broken, and when it is mended. */
async function broken(name: string, breaks: () => unknown, mends: () => unknown): Promise<Span['fault']> {
  const fromMs = Date.now()
  await breaks()
  await sleep(PHASE_MS)
  const toMs = Date.now()
  await mends()
  await sleep(PHASE_MS)
  return { fromMs, toMs, name }
}

const stop = [
  callers(4, () => `/query?seconds=${(Math.random() * 0.03).toFixed(3)}`),
  callers(3, () => '/cached'),
  callers(2, () => `/sleep?ms=${Math.round(Math.random() * 60)}`),
]
await sleep(PHASE_MS)
const stopped = await broken(
  'database stopped',
  () => postgres.stop(),
  () => postgres.start(),
)
await picture('database-stopped', ['Now', 'Requests', 'Health'], stopped)
let unslow = () => {}
const slow = await broken(
  'slow queries',
  () => {
    unslow = callers(40, () => '/query?seconds=0.25')
  },
  () => unslow(),
)
await picture('pool-exhausted', ['Saturation'], slow)
// They would keep the process.
for (const one of stop) one()
