import { type Bench, COLUMNS, CONNECTIONS, type Measured, sample } from '../bench.ts'
import { makeNotes } from '../fixtures.ts'
import { atLeast, interleave, ratio, Table } from '../report.ts'
import { ROUTES, Run } from '../subjects.ts'
import { reads as ways } from './read.ts'

/** One row by its primary key, through a route, in one process. */
export async function reads({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Read of a row by its key',
    COLUMNS,
    `${CONNECTIONS} connections, a pool of 10 each for plain pg and the service, one of 1000 keys at random, ` +
      `${seconds} s a round.`,
  )
  const options = { databaseUrl: await servers.migratedDatabase(makeNotes), redisUrl: servers.redisUrl }
  const run = await Run.start(ROUTES, { ...options, env: { LOG_LEVEL: 'silent' } })
  try {
    await interleave(
      quick ? 2 : 5,
      ways.map(
        ({ route, name }) =>
          () =>
            table.measure(name, () => sample(run, load, { url: run.url(route), seconds })),
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
