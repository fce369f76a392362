import { type Bench, CONNECTIONS, type Measured } from '../bench.ts'
import { makeNotes } from '../fixtures.ts'
import { interleave, Table } from '../report.ts'
import { ROUTES, Run } from '../subjects.ts'
import { works } from './work.ts'

/** What requests do beside reading a row, each in two ways. */
export async function work({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Work of a request',
    [
      { key: 'perSecond', head: 'requests/s' },
      { key: 'p99', head: 'p99 ms', digits: 2 },
      { key: 'processor', head: 'processor µs a request', digits: 1 },
    ],
    `${CONNECTIONS} connections, a pool of 10 each, ${seconds} s a round.`,
  )
  const options = { databaseUrl: await servers.migratedDatabase(makeNotes), redisUrl: servers.redisUrl }
  const run = await Run.start(ROUTES, { ...options, env: { LOG_LEVEL: 'silent' } })
  try {
    await interleave(
      quick ? 2 : 5,
      works.map(
        ({ name, route, body }) =>
          () =>
            table.measure(name, async () => {
              const job = { url: run.url(route), body: body && JSON.stringify(body), connections: CONNECTIONS }
              await load.run({ ...job, seconds: 1 })
              const before = run.processorMs()
              const { perSecond, p99, requests, non200 } = await load.run({ ...job, seconds })
              if (non200 > 0) throw new Error(`${non200} of ${requests} answers were not 200`)
              return { perSecond, p99, processor: ((run.processorMs() - before) / requests) * 1_000 }
            }),
      ),
    )
  } finally {
    await run.stop()
  }
  return { table, targets: [] }
}
