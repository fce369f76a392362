import { type Bench, COLUMNS, CONNECTIONS, type Measured, sample } from '../bench.ts'
import { makeNotes } from '../fixtures.ts'
import { interleave, Table } from '../report.ts'
import { ROUTES, Run } from '../subjects.ts'
import { works } from './work.ts'

/** What requests do beside reading a row, each in two ways. */
export async function work({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Work of a request',
    COLUMNS,
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
            table.measure(name, () =>
              sample(run, load, { url: run.url(route), body: body && JSON.stringify(body), seconds }),
            ),
      ),
    )
  } finally {
    await run.stop()
  }
  return { table, targets: [] }
}
