import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Measured } from './bench.ts'
import { atMost, interleave, ratio, type Sample, Table } from './report.ts'
import { BARE, NAIVE, Run, type Subject, statusOf, THIS } from './subjects.ts'

const MANY = 32
const PROBES_PER_SECOND = 1_000
const POLL_MS = 20

interface Replicas {
  sample: Sample
  runs: Run[]
}

/** Many processes that start at the same moment, and what they ask of the database. */
export async function replicas({ servers, quick }: Bench): Promise<Measured> {
  const probeSeconds = quick ? 3 : 10
  const table = new Table(
    'Replicas',
    [
      { key: 'ready', head: 'all ready ms' },
      { key: 'lock', head: 'longest wait for the lock ms' },
      { key: 'peak', head: 'connections, most' },
      { key: 'held', head: 'connections, ready' },
      { key: 'boot', head: 'statements to boot, each', digits: 1 },
      { key: 'probes', head: 'probes/s' },
      { key: 'statements', head: 'statements/s' },
      { key: 'pings', head: 'PINGs/s' },
    ],
    'All start at the same moment. New: on an empty database, which one of them migrates; migrated: nothing is pending. ' +
      `The wait for the lock ends when the replica is ready. Probed: ${PROBES_PER_SECOND} times a second, all ` +
      `${MANY} together, in turn, for ${probeSeconds} s; fewer where the machine is too slow for that.`,
  )

  async function boot(subject: Subject, count: number, databaseUrl: string): Promise<Replicas> {
    const before = await servers.counts(databaseUrl)
    const from = performance.now()
    const starts = Array.from({ length: count }, () =>
      Run.start(subject, { databaseUrl, redisUrl: servers.redisUrl, pollMs: POLL_MS }),
    )
    let peak = 0
    let ready = 0
    const all = Promise.allSettled(starts).finally(() => {
      ready = performance.now() - from
    })
    while (ready === 0) {
      peak = Math.max(peak, await servers.connections(databaseUrl))
      await sleep(POLL_MS)
    }
    const started = await all
    const runs = started.filter((result) => result.status === 'fulfilled').map(({ value }) => value)
    const failed = started.find((result) => result.status === 'rejected')
    if (failed) {
      await stopAll(runs)
      throw failed.reason
    }
    const held = await servers.connections(databaseUrl)
    const { statements } = await servers.counts(databaseUrl)
    const waits = subject === THIS ? runs.map(({ output }) => lockWaitMs(output)) : []
    return {
      runs,
      sample: {
        ready,
        peak: Math.max(peak, held),
        held,
        boot: (statements - before.statements) / count,
        ...(waits.length > 0 && { lock: Math.max(...waits) }),
      },
    }
  }

  const times = (name: string, subject: Subject, count: number, database: () => Promise<string>) => () =>
    table.measure(name, async () => {
      const { sample, runs } = await boot(subject, count, await database())
      await stopAll(runs)
      return sample
    })
  const empty = () => servers.emptyDatabase()
  const migrated = () => servers.migratedDatabase()

  const counts = quick ? [1, 4] : [1, 4, 16, MANY]
  for (const count of counts) await times(`${count}, new`, THIS, count, empty)()
  await times(`naive: ${MANY}, new`, NAIVE, MANY, empty)()
  await interleave(quick ? 1 : 3, [
    times(`${MANY}, migrated`, THIS, MANY, migrated),
    times(`bare: ${MANY}`, BARE, MANY, migrated),
  ])
  for (const subject of [THIS, NAIVE]) {
    await table.measure(`${subject.name}: ${MANY}, probed`, async () => {
      const databaseUrl = await migrated()
      const { runs } = await boot(subject, MANY, databaseUrl)
      try {
        return await probed(runs, subject.ready, databaseUrl)
      } finally {
        await stopAll(runs)
      }
    })
  }
  process.stderr.write('\n')

  async function probed(runs: Run[], route: string, databaseUrl: string): Promise<Sample> {
    const agent = new Agent({ keepAlive: true })
    const before = await servers.counts(databaseUrl)
    const from = performance.now()
    const elapsed = () => (performance.now() - from) / 1_000
    let probes = 0
    let open = 0
    let failed = 0
    for (; elapsed() < probeSeconds; await sleep(1)) {
      for (; probes < elapsed() * PROBES_PER_SECOND && open < MANY; probes++) {
        open++
        const run = runs[probes % runs.length] as Run
        void statusOf(run.url(route), agent).then((status) => {
          open--
          if (status !== 200) failed++
        })
      }
    }
    while (open > 0) await sleep(1)
    const seconds = elapsed()
    agent.destroy()
    if (failed > 0) throw new Error(`${failed} of ${probes} probes were not answered with 200`)
    const after = await servers.counts(databaseUrl)
    return {
      held: await servers.connections(databaseUrl),
      probes: probes / seconds,
      statements: (after.statements - before.statements) / seconds,
      pings: (after.pings - before.pings) / seconds,
    }
  }

  const of = (name: string) => table.values(name, 'ready')
  const target = `start to ready of ${MANY} replicas over ${MANY} bare ones`
  return { table, targets: [atMost(1.4, target, ratio(of(`${MANY}, migrated`), of(`bare: ${MANY}`)))] }
}

async function stopAll(runs: Run[]): Promise<void> {
  await Promise.all(runs.map((run) => run.stop()))
}

/** From the log: between asking for the lock in vain and being ready. */
function lockWaitMs(output: string): number {
  const lines: { time: number; msg: string }[] = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
  const waits = lines.find(({ msg }) => msg.includes('waiting for its lock'))
  const ready = lines.find(({ msg }) => msg === 'ready')
  return waits && ready ? ready.time - waits.time : 0
}
