/**
 * `npm run bench:faults`: what this service and its peers say of themselves while a backend breaks, and after.
 * Each fault on servers of its own, a probe every 100 ms that waits five seconds at the most. Prints a table.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { OUTAGES } from './outages.ts'
import { NAIVE, PEERS, Run, type Subject, THIS } from './subjects.ts'

const PATIENCE_MS = 5_000
const WATCH_MS = 6_000
const INTERVAL_MS = 100

/** The status of an answer; 0: nobody listens; undefined: none within the patience of the prober. */
async function probe(url: string): Promise<number | undefined> {
  try {
    const { status } = await fetch(url, {
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: { connection: 'close' },
    })
    return status
  } catch (err) {
    return (err as Error).name === 'TimeoutError' ? undefined : 0
  }
}

/** When the wanted kind of answer was first there, and the slowest of all, in milliseconds. */
async function watch(url: string, wanted: (status: number | undefined) => boolean) {
  const started = performance.now()
  const seen = new Set<number | undefined>()
  let firstMs: number | undefined
  let slowestMs = 0
  while (performance.now() - started < WATCH_MS) {
    const asked = performance.now()
    const status = await probe(url)
    seen.add(status)
    slowestMs = Math.max(slowestMs, performance.now() - asked)
    if (wanted(status)) firstMs ??= performance.now() - started
    await sleep(INTERVAL_MS)
  }
  return { seen, firstMs, slowestMs }
}

async function measure(subject: Subject, { make, mend }: (typeof OUTAGES)[string]): Promise<string> {
  await using stack = new AsyncDisposableStack()
  const postgres = await startPostgres()
  stack.defer(() => postgres.close())
  const redis = await startRedis()
  stack.defer(() => redis.close())
  const run = await Run.start(subject, { databaseUrl: postgres.url, redisUrl: redis.url })
  stack.defer(() => run.kill())
  const url = run.url(subject === THIS ? '/health' : subject.ready)
  await probe(url)

  const [broken] = await Promise.all([watch(url, (status) => status !== 200), make(postgres, redis)])
  await mend(postgres, redis)
  const mended = await watch(url, (status) => status === 200)
  if (mended.seen.has(0) && mended.firstMs === undefined) return 'the process ends'
  const ms = (value: number) => `${Math.round(value)} ms`
  const noticed = broken.seen.has(undefined)
    ? 'no answer'
    : [...broken.seen].filter((status) => status !== 200).join(', ')
  const during = broken.firstMs === undefined ? '200 all the time' : `${noticed} after ${ms(broken.firstMs)}`
  const after = mended.firstMs === undefined ? 'no more 200' : `200 after ${ms(mended.firstMs)}`
  return `${during}, slowest ${ms(broken.slowestMs)}; ${after}`
}

const subjects = [THIS, NAIVE, ...PEERS]
process.stdout.write(
  `| | ${subjects.map(({ name }) => name).join(' | ')} |\n|${' --- |'.repeat(subjects.length + 1)}\n`,
)
for (const [name, outage] of Object.entries(OUTAGES)) {
  const cells: string[] = []
  for (const subject of subjects) {
    cells.push(await measure(subject, outage).catch((err: Error) => `not measured: ${err.message}`))
  }
  process.stdout.write(`| ${[name, ...cells].join(' | ')} |\n`)
}
process.exit(0)
