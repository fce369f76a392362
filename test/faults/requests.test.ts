import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { query, ROOT, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { type Answer, ask, Prober, probers, ROUTES, reasonOf, SHIPPED } from '../support/tools.ts'

/** Connections of the pool. */
const POOL_MAX = 4
/** The contract: after a fault requests work again within this. */
const AGAIN_MS = 2_000

const postgres = await startPostgres()
t.teardown(() => postgres.close())
await query(postgres.url, 'create table written ()')

async function setUp(t: Test, env: NodeJS.ProcessEnv = {}, options = {}) {
  const proxy = await TcpProxy.start(t, postgres.url)
  const variables = { ...SHIPPED, ...ROUTES, DATABASE_POOL_MAX: String(POOL_MAX), DATABASE_URL: proxy.url, ...env }
  const service = new Service(t, variables, options)
  const url = await service.url()
  await service.logged('ready')
  return { proxy, service, url }
}

/** Has all connections of the pool opened: each is in a transaction at the same time. */
async function fillPool(url: string) {
  const held = new Set<Promise<Answer>>()
  await until(
    async () => {
      // Again, because a machine that is slow may not open a connection in time; and no more, which would make it slower.
      while (held.size < POOL_MAX) {
        const answer = ask(`${url}/transaction`)
        held.add(answer)
        void answer.then(() => held.delete(answer))
      }
      return (await ask(`${url}/pool`)).body
    },
    ({ totalCount }) => totalCount === POOL_MAX,
  )
  await until(
    async () => {
      await ask(`${url}/release`)
      return (await ask(`${url}/pool`)).body
    },
    ({ idleCount }) => idleCount === POOL_MAX,
  )
  await Promise.all(held)
}

/** Asks a route over and over, several at once, until it has worked for a while; the answers in the order of asking. */
async function load(url: string, clients: number): Promise<(Answer & { at: number })[]> {
  const started = performance.now()
  const answers: (Answer & { at: number })[] = []
  const isOver = () => answers.length > clients * 5 && answers.slice(-clients * 5).every(({ status }) => status === 200)
  const client = async () => {
    while (!isOver() && performance.now() - started < 30_000) {
      const at = performance.now() - started
      answers.push({ ...(await ask(url)), at })
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return answers
}

/** Each pooled connection failed once at most, and none of those asked after the limit; a slow machine takes its time. */
function fared(t: Test, answers: (Answer & { at: number })[], live: Prober) {
  const failed = answers.filter(({ status }) => status !== 200)
  t.ok(failed.length <= POOL_MAX, `each connection fails once at most: ${failed.length} of ${answers.length}`, {
    failed,
  })
  t.same(
    [...new Set(failed.map(({ status }) => status))].filter((status) => status !== 503),
    [],
    'with 503',
  )
  const last = Math.max(0, ...failed.map(({ at, ms }) => at + ms))
  t.ok(last < AGAIN_MS + 2 * live.slowest, `over within two seconds: ${Math.round(last)} ms`)
}

t.test('failover behind one address: each connection fails once at most, and writes work again', async (t) => {
  const other = await startPostgres()
  t.teardown(() => other.close())
  await query(other.url, 'create table written ()')
  t.teardown(() =>
    query(postgres.url, 'alter system reset default_transaction_read_only').then(() =>
      query(postgres.url, 'select pg_reload_conf()'),
    ),
  )
  const { proxy, url } = await setUp(t)
  const { live, ready } = probers(t, url)
  await fillPool(url)
  proxy.lead(other.url)
  await query(postgres.url, 'alter system set default_transaction_read_only = on')
  await query(postgres.url, 'select pg_reload_conf()')
  fared(t, await load(`${url}/write`, POOL_MAX), live)
  ready.failedAtMost(t, 0, live)
})

for (const probed of [true, false]) {
  t.test(`connections that die in silence, ${probed ? '' : 'not '}probed`, async (t) => {
    const { proxy, url } = await setUp(t)
    const live = new Prober(t, `${url}/health/live`)
    const ready = probed ? [new Prober(t, `${url}/health/ready`)] : []
    await fillPool(url)
    proxy.deaden()
    fared(t, await load(`${url}/query`, 2 * POOL_MAX), live)
    for (const prober of ready) prober.failedAtMost(t, 0, live)
  })
}

t.test('a slow statement is told from a dead connection', async (t) => {
  const { proxy, url } = await setUp(t)
  await fillPool(url)
  const slow = ask(`${url}/query?seconds=3`)
  await until(
    () => query(postgres.url, "select from pg_stat_activity where state = 'active' and query like '%pg_sleep%'"),
    ({ length }) => length > 1,
  )
  const before = proxy.count
  // That of the probe is the first.
  proxy.deaden(1)
  await until(
    () => ask(`${url}/health`),
    () => proxy.count > before,
  )
  t.equal((await slow).status, 200)
})

t.test('a database that hangs: a request that waits for it is given up', async (t) => {
  t.teardown(() => postgres.restore())
  const { url, service } = await setUp(t, {}, { source: ROOT })
  const live = new Prober(t, `${url}/health/live`)
  await fillPool(url)
  postgres.pause()
  const answers = await Promise.all(Array.from({ length: 2 * POOL_MAX }, () => ask(`${url}/query`)))
  t.same([...new Set(answers.map(({ status }) => status))], [503])
  const slowest = Math.max(...answers.map(({ ms }) => ms))
  t.ok(slowest < 2 * AGAIN_MS + 2 * live.slowest, `those that had a connection, and those behind them: ${slowest} ms`)
  postgres.resume()
  await new Prober(t, `${url}/query`).next(200)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

t.test('a password that is changed while the sessions of before live on', async (t) => {
  await query(postgres.url, "create role rotated superuser login password 'before'")
  const as = Object.assign(new URL(postgres.url), { username: 'rotated', password: 'before' }).href
  const password = (word: string) => query(postgres.url, `alter role rotated password '${word}'`)

  await t.test('a connection of the pool is refused', async (t) => {
    const { url } = await setUp(t, { DATABASE_URL: as })
    const { ready, health } = probers(t, url)
    await ready.next(200)
    await password('after')
    // More than there are connections.
    const refused = await Promise.all(Array.from({ length: POOL_MAX }, () => ask(`${url}/query?seconds=0.5`)))
    t.ok(refused.some(({ status }) => status === 503))
    await ready.next(503)
    await health.next(503, (answer) => reasonOf(answer) === 'auth')
    await password('before')
    await ready.next(200)
  })

  await t.test('the connections age', async (t) => {
    const { url } = await setUp(t, { DATABASE_URL: as, DATABASE_MAX_LIFETIME_SECONDS: '1' })
    const { ready, health } = probers(t, url)
    await ready.next(200)
    await password('after')
    await health.next(503, (answer) => reasonOf(answer) === 'auth')
    await ready.next(503)
    await password('before')
    await ready.next(200)
  })
})

t.test('transactions that handlers never end are ended, and leave the pool', async (t) => {
  const { url, service } = await setUp(t, { DATABASE_IDLE_TRANSACTION_TIMEOUT_MS: '10000' })
  const { live, ready } = probers(t, url)
  await fillPool(url)
  for (let handler = 0; handler < POOL_MAX; handler++) void ask(`${url}/transaction`)
  await until(
    async () => (await ask(`${url}/pool`)).body,
    ({ totalCount }) => totalCount === POOL_MAX,
  )
  t.equal((await ask(`${url}/query`)).status, 503)
  const exhausted = await service.logged('the database pool is exhausted')
  t.ok((exhausted['exhaustedMs'] as number) >= 500, 'a line says how long it is so')
  await new Prober(t, `${url}/query`).next(200)
  await until(
    async () => (await ask(`${url}/pool`)).body,
    ({ totalCount, idleCount }) => totalCount === idleCount,
  )
  t.match(await service.logged('database connection lost'), { err: { code: '25P03' } })
  ready.failedAtMost(t, 0, live)
})

t.test('a pause of the process is no timeout of a backend', async (t) => {
  // One answer serves one prober.
  const { url, service } = await setUp(t, { HEALTH_CACHE_MS: '0' })
  await new Prober(t, `${url}/health`).next(200)
  const answers: Answer[] = []
  for (let pause = 0; pause < 4; pause++) {
    const asked = Array.from({ length: 5 }, () => ask(`${url}/health`))
    await sleep(pause)
    service.child.kill('SIGSTOP')
    await sleep(1_200) // longer than every deadline of a check
    service.child.kill('SIGCONT')
    answers.push(...(await Promise.all(asked)))
  }
  t.same(
    answers.filter(({ status }) => status !== 200),
    [],
  )
  const lost = service.logs.filter(({ msg }) => /lost|check failed/.test(msg))
  t.same(lost, [], 'nothing was lost either')
})
