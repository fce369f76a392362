import { hasPgbouncer, startPgbouncer } from '../test/support/pgbouncer-server.ts'
import { TcpProxy } from '../test/support/tcp-proxy.ts'
import type { Bench, Measured } from './bench.ts'
import { makeNotes } from './fixtures.ts'
import { reads } from './reads/read.ts'
import { atLeast, interleave, ratio, Table } from './report.ts'
import { ROUTES, Run } from './subjects.ts'

const CALLERS = [1, 10, 50]
const NEAR = 'direct'
const FAR = '1 ms'

/** What a read costs with a network or a pooler between: there the trips to the database decide. */
export async function latency({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Read with a network or a pooler between',
    CALLERS.map((callers) => ({ key: String(callers), head: `requests/s, ${callers} at once` })),
    `A pool of 10. \`1 ms\` and \`5 ms\`: a proxy gives each answer of the database so much later. ${seconds} s a round.`,
  )
  const databaseUrl = await servers.migratedDatabase(makeNotes)
  await using ends = new AsyncDisposableStack()
  const t = { teardown: (end: () => unknown) => ends.defer(async () => void (await end())) }
  const networks: [string, NodeJS.ProcessEnv][] = [[NEAR, { DATABASE_URL: databaseUrl }]]
  for (const ms of [1, 5]) {
    const proxy = await TcpProxy.start(t, databaseUrl)
    proxy.slow(ms)
    networks.push([`${ms} ms`, { DATABASE_URL: proxy.url }])
  }
  if (hasPgbouncer()) {
    const { url } = await startPgbouncer(t, databaseUrl, { default_pool_size: '10' })
    networks.push(['PgBouncer', { DATABASE_URL: url, DATABASE_STATEMENT_TIMEOUT_MS: '0' }])
  }
  const ways = reads.filter(({ least }) => least !== undefined)
  const jobs: (() => Promise<void>)[] = []
  for (const [network, env] of networks) {
    const options = { databaseUrl, redisUrl: servers.redisUrl, env: { LOG_LEVEL: 'silent', ...env } }
    const run = await Run.start(ROUTES, options)
    ends.defer(async () => void (await run.stop()))
    for (const { route, name } of ways)
      jobs.push(() => table.measure(`${network}, ${name}`, () => sample(run.url(route))))
  }
  await interleave(quick ? 2 : 3, jobs)

  async function sample(url: string) {
    const rates: Record<string, number> = {}
    for (const connections of CALLERS) {
      const { perSecond, requests, non200 } = await load.run({ url, connections, seconds })
      if (non200 > 0) throw new Error(`${non200} of ${requests} answers were not 200`)
      rates[connections] = perSecond
    }
    return rates
  }
  const [plain] = ways.filter(({ least }) => least === 1)
  const targets = ways
    .filter((way) => way !== plain)
    .map(({ name, least = 0 }) => {
      const rate = (way = '') => table.values(`${FAR}, ${way}`, '50')
      return atLeast(least, `${name} over ${plain?.name}, ${FAR}, 50 at once`, ratio(rate(name), rate(plain?.name)))
    })
  return { table, targets }
}
