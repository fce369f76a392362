import { features } from '../src/app.ts'
import { settingsOf } from '../src/core/config/env.ts'
import { type Bench, COLUMNS, CONNECTIONS, type Measured, sample } from './bench.ts'
import { makeNotes } from './fixtures.ts'
import { atLeast, interleave, ratio, Table } from './report.ts'
import { ROUTES, Run } from './subjects.ts'

/** What can be on or off, by its settings; those that the service does not know are left out. */
const VARIANTS: { name: string; env: Record<string, string> }[] = [
  { name: 'logging off', env: { LOG_LEVEL: 'silent' } },
  { name: 'logging on (`info`)', env: { LOG_LEVEL: 'info' } },
  { name: 'logging off, metrics on', env: { LOG_LEVEL: 'silent', METRICS: 'true' } },
  { name: 'logging on, metrics on', env: { LOG_LEVEL: 'info', METRICS: 'true' } },
]

/** What logging and metrics cost a route that does nothing. */
export async function costs({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Cost of logging and of metrics',
    [...COLUMNS, { key: 'memory', head: 'memory after MB' }],
    `A route that answers a constant, ${CONNECTIONS} connections, ${seconds} s a round, the log in a file.`,
  )
  const options = { databaseUrl: await servers.migratedDatabase(makeNotes), redisUrl: servers.redisUrl }
  const known = VARIANTS.filter(({ env }) => Object.keys(env).every((name) => name in settingsOf(features).properties))
  await interleave(
    quick ? 1 : 4,
    known.map(
      ({ name, env }) =>
        () =>
          table.measure(name, async () => {
            const run = await Run.start(ROUTES, { ...options, env })
            try {
              return { ...(await sample(run, load, { url: run.url('/constant'), seconds })), memory: run.memory() }
            } finally {
              await run.stop()
            }
          }),
    ),
  )
  const rate = (name: string) => table.values(name, 'perSecond')
  const logging = ratio(rate('logging on (`info`)'), rate('logging off'))
  return { table, targets: [atLeast(0.85, 'request with logging on over logging off', logging)] }
}
