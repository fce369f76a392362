import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { cluster, faults, healthy, masters, withoutMaster } from '../redis/cluster/nodes.ts'
import { build } from '../support/app.ts'
import { until, within } from '../support/helper.ts'
import { command } from '../support/redis-command.ts'
import { PROBE_LIMIT_MS, Prober } from '../support/tools.ts'

/** The service, with a cached function that counts its loads. */
async function setUp(t: Test, variables: NodeJS.ProcessEnv) {
  const app = await build(t, { MIGRATIONS: 'off', ...variables })
  const state = { loads: 0, value: 'first' }
  app.cache.define('thing', { ttl: 60, references: (id: string) => ['all', `thing:${id}`] }, async (_id: string) => {
    state.loads++
    return state.value
  })
  const get = (id: string) => (app.cache as unknown as { thing(id: string): Promise<string> }).thing(id)
  return { app, state, get }
}

const all = await cluster(t)
const IDS = Array.from({ length: 20 }, (_, id) => String(id))

/** Every entry that is in the Cluster. */
async function entries(): Promise<string[]> {
  const found = (await masters(all)).map((master) => command(master, 'KEYS', '*cache2:*') as Promise<string[]>)
  return (await Promise.all(found)).flat()
}

/** `get`: asks for each until all are there. */
const cached = (length: number, get?: (id: string) => Promise<string>) =>
  until(
    async () => {
      if (get) await Promise.all(IDS.map(get))
      return entries()
    },
    (keys) => keys.length === length,
  )

t.test('the cache works over the slots: it loads once, and invalidates on every replica', async (t) => {
  const patient = { ...all.variables, REDIS_COMMAND_TIMEOUT_MS: '10000' }
  const one = await setUp(t, patient)
  const two = await setUp(t, patient)
  await Promise.all([healthy(one.app), healthy(two.app)])
  for (const id of IDS) t.equal(await one.get(id), 'first')
  await cached(IDS.length)
  for (const id of IDS) t.equal(await two.get(id), 'first')
  t.equal(one.state.loads + two.state.loads, IDS.length, 'one load for both')
  for (const master of await masters(all)) {
    for (const key of (await command(master, 'KEYS', '*')) as string[]) {
      t.ok(((await command(master, 'TTL', key)) as number) > 0, `${key} expires`)
    }
  }

  two.state.value = 'second'
  await one.app.cache.invalidate('thing', ['thing:7'])
  t.same([await two.get('7'), await two.get('8')], ['second', 'first'])
  await cached(IDS.length)
  await one.app.cache.invalidate('thing', ['all'])
  for (const id of IDS) t.equal(await two.get(id), 'second')
  await one.app.cache.clear('thing', '3')
  await cached(IDS.length - 1)
  two.state.value = 'third'
  await one.app.cache.clear('thing')
  for (const id of IDS) t.equal(await two.get(id), 'third')
})

for (const [name, fault] of Object.entries(faults)) {
  t.test(`one master ${name}: every call answers, and what could not be invalidated is so at its return`, async (t) => {
    const { app, state, get } = await setUp(t, all.variables)
    await healthy(app)
    await cached(IDS.length, get)
    const live = new Prober(t, `${await app.listen({ port: 0, host: '127.0.0.1' })}/health/live`)
    const answers = new Set<string>()
    let slowest = 0
    await withoutMaster(all, fault, async () => {
      state.value = 'second'
      // Some cannot be told: the master of their version is away.
      await app.cache.invalidate(
        'thing',
        IDS.map((id) => `thing:${id}`),
      )
      let over = false
      const back = healthy(app).finally(() => {
        over = true
      })
      const ask = async (id: string) => {
        const asked = performance.now()
        answers.add(await within(get(id), () => id))
        slowest = Math.max(slowest, performance.now() - asked)
      }
      while (!over) {
        await Promise.all(IDS.map(ask))
        await sleep(50)
      }
      await back
      await until(
        () => Promise.all(IDS.map(get)),
        (values) => values.every((value) => value === 'second'),
      )
    })
    for (const answer of answers) t.match(answer, /^(first|second)$/)
    t.ok(
      slowest < PROBE_LIMIT_MS + 2 * live.slowest,
      `no call waits for more than a command: ${Math.round(slowest)} ms`,
    )
    await cached(IDS.length, get)
  })
}
