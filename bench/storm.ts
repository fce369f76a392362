import { setTimeout as sleep } from 'node:timers/promises'
import { type Bench, CONNECTIONS, type Measured } from './bench.ts'
import { atLeast, atMost, interleave, ratio, Table, under } from './report.ts'
import { BARE, NAIVE, PEERS, Run, type Subject, THIS } from './subjects.ts'

const SETTLE_MS = 500

/** Every probe of a program under as many requests as it answers. */
export async function storm({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const warmUpSeconds = quick ? 1 : 2
  const table = new Table(
    'Probe storm',
    [
      { key: 'perSecond', head: 'requests/s' },
      { key: 'p50', head: 'p50 ms', digits: 2 },
      { key: 'p99', head: 'p99 ms', digits: 2 },
      { key: 'non200', head: 'not 200' },
      { key: 'processor', head: 'processor µs a request', digits: 1 },
      { key: 'boot', head: 'memory after boot MB' },
      { key: 'peak', head: 'peak MB' },
      { key: 'after', head: 'after MB' },
      { key: 'statements', head: 'statements per 1000', digits: 2 },
      { key: 'pings', head: 'PINGs per 1000', digits: 2 },
    ],
    `${CONNECTIONS} connections, ${seconds} s a round after ${warmUpSeconds} s of warming up, a new process each round. ` +
      'On two cores the load generator is as busy as the program: the processor time of the program for one request ' +
      'tells them apart where requests/s cannot.',
  )

  const databaseUrl = await servers.migratedDatabase()
  const probe = (name: string, subject: Subject, route: string) => () =>
    table.measure(name, async () => {
      const run = await Run.start(subject, { databaseUrl, redisUrl: servers.redisUrl })
      try {
        await sleep(SETTLE_MS)
        const boot = run.memory()
        const job = { url: run.url(route), connections: CONNECTIONS }
        const warmUp = load.run({ ...job, seconds: warmUpSeconds })
        const peakBefore = await run.peakMemory(warmUp)
        await warmUp
        const [before, processorBefore] = [await servers.counts(databaseUrl), run.processorMs()]
        const answers = load.run({ ...job, seconds })
        const peak = Math.max(peakBefore, await run.peakMemory(answers))
        const { requests, ...speed } = await answers
        const [after, processorAfter] = [await servers.counts(databaseUrl), run.processorMs()]
        await sleep(SETTLE_MS)
        return {
          ...speed,
          processor: ((processorAfter - processorBefore) / requests) * 1_000,
          boot,
          peak,
          after: run.memory(),
          statements: ((after.statements - before.statements) / requests) * 1_000,
          pings: ((after.pings - before.pings) / requests) * 1_000,
        }
      } finally {
        await run.stop()
      }
    })

  await interleave(quick ? 2 : 5, [
    probe('this service `/health`', THIS, '/health'),
    probe('this service `/health/ready`', THIS, '/health/ready'),
    probe(BARE.name, BARE, BARE.ready),
    probe(NAIVE.name, NAIVE, NAIVE.ready),
    ...PEERS.map((peer) => probe(peer.name, peer, peer.ready)),
  ])

  const targets = ['/health', '/health/ready'].flatMap((route) => {
    const of = (key: string) => table.values(`this service \`${route}\``, key)
    const over = (key: string, subject: Subject) => ratio(of(key), table.values(subject.name, key))
    const worst = (key: string) => Math.max(...of(key))
    return [
      atLeast(0.85, `\`${route}\` requests/s over bare`, over('perSecond', BARE)),
      atLeast(3.5, `\`${route}\` requests/s over naive`, over('perSecond', NAIVE)),
      atMost(1.1, `\`${route}\` p99 over bare`, over('p99', BARE)),
      atMost(0, `\`${route}\` answers but 200`, worst('non200')),
      under(1, `\`${route}\` statements per 1000 probes`, worst('statements')),
      under(1, `\`${route}\` PINGs per 1000 probes`, worst('pings')),
      atMost(1.15, `\`${route}\` memory after boot over bare`, over('boot', BARE)),
      atMost(1.15, `\`${route}\` memory after the storm over bare`, over('after', BARE)),
      atMost(0.65, `\`${route}\` memory in the storm over naive`, over('peak', NAIVE)),
    ]
  })
  return { table, targets }
}
