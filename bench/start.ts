import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Measured } from './bench.ts'
import { atMost, interleave, ratio, Table } from './report.ts'
import { BARE, NAIVE, PEERS, Run, THIS } from './subjects.ts'

const SETTLE_MS = 300

/** From the start of the process to the first 200 of its readiness, and from SIGTERM to its end. */
export async function start({ servers, quick }: Bench): Promise<Measured> {
  const table = new Table(
    'Start and end',
    [
      { key: 'ready', head: 'start to ready ms' },
      { key: 'memory', head: 'memory then MB' },
      { key: 'exit', head: 'SIGTERM to exit ms' },
    ],
    'On a migrated database, with nothing else running. `SHUTDOWN_DELAY_MS=0`: in production this service serves on ' +
      'for 5 s first, so that balancers notice.',
  )
  const databaseUrl = await servers.migratedDatabase()
  const { redisUrl } = servers
  await interleave(
    quick ? 3 : 9,
    [THIS, BARE, NAIVE, ...PEERS].map(
      (subject) => () =>
        table.measure(subject.name, async () => {
          const run = await Run.start(subject, { databaseUrl, redisUrl })
          await sleep(SETTLE_MS)
          return { ready: run.readyMs, memory: run.memory(), exit: await run.stop() }
        }),
    ),
  )
  const of = (name: string) => table.values(name, 'ready')
  return {
    table,
    targets: [
      atMost(0.5, 'start to ready over naive', ratio(of(THIS.name), of(NAIVE.name))),
      atMost(1.25, 'start to ready over bare', ratio(of(THIS.name), of(BARE.name))),
    ],
  }
}
