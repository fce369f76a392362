import { type Bench, CONNECTIONS, type Measured } from '../bench.ts'
import { makeNotes } from '../fixtures.ts'
import { atLeast, interleave, ratio, Table } from '../report.ts'
import { ROUTES, Run } from '../subjects.ts'
import { reads as ways } from './read.ts'

/** One row by its primary key, through a route, in one process. */
export async function reads({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Read of a row by its key',
    [
      { key: 'perSecond', head: 'requests/s' },
      { key: 'p99', head: 'p99 ms', digits: 2 },
      { key: 'processor', head: 'processor µs a request', digits: 1 },
    ],
    `${CONNECTIONS} connections, a pool of 10 each for plain pg and the service, one of 1000 keys at random, ` +
      `${seconds} s a round.`,
  )
  const options = { databaseUrl: await servers.migratedDatabase(makeNotes), redisUrl: servers.redisUrl }
  const run = await Run.start(ROUTES, { ...options, env: { LOG_LEVEL: 'silent' } })
  try {
    const jobs = ways.map(({ route, name }) => ({
      name,
      job: { url: run.url(route), connections: CONNECTIONS, seconds },
    }))
    for (const { job } of jobs) await load.run({ ...job, seconds: 1 })
    await interleave(
      quick ? 2 : 5,
      jobs.map(
        ({ name, job }) =>
          () =>
            table.measure(name, async () => {
              const before = run.processorMs()
              const { perSecond, p99, requests, non200 } = await load.run(job)
              if (non200 > 0) throw new Error(`${non200} of ${requests} answers were not 200`)
              return { perSecond, p99, processor: ((run.processorMs() - before) / requests) * 1_000 }
            }),
      ),
    )
  } finally {
    await run.stop()
  }
  const rate = (wanted: string) => table.values(ways.find(({ route }) => route === wanted)?.name as string, 'perSecond')
  const targets = ways.flatMap(({ route, atLeast: least }) =>
    least ? [atLeast(least.times, `read by key: ${least.what}`, ratio(rate(route), rate(least.route)))] : [],
  )
  return { table, targets }
}
