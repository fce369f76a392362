import { getHeapStatistics } from 'node:v8'
import t from 'tap'
import { build, unstarted } from '../support/app.ts'
import { sharedDatabase } from '../support/helper.ts'
import { OWN, samples, value } from '../support/metrics.ts'
import { Service } from '../support/process.ts'

t.test('the phase is told, and whether the service is ready: while it starts, serves and drains', async (t) => {
  const app = await unstarted(t, OWN)
  const told = async () => {
    const phases = await samples(app, 'lifecycle_phase')
    return {
      phases: Object.fromEntries(phases.map(({ labels, value }) => [labels['phase'], value])),
      ready: await value(app, 'health_ready'),
      probe: (await app.inject('/health/ready')).statusCode,
    }
  }
  t.same(await told(), { phases: { starting: 1, serving: 0, draining: 0 }, ready: 0, probe: 503 })
  await app.lifecycle.start()
  t.same(await told(), { phases: { starting: 0, serving: 1, draining: 0 }, ready: 1, probe: 200 })
  app.lifecycle.drain()
  t.same(await told(), { phases: { starting: 0, serving: 0, draining: 1 }, ready: 0, probe: 503 })
})

t.test('a required check that fails makes it not ready, an optional one does not', async (t) => {
  for (const [required, ready] of [
    [true, 0],
    [false, 1],
  ] as const) {
    const app = await build(t, OWN)
    app.health.add({ name: 'fails-9999', required, check: () => Promise.reject(new Error('down')) })
    t.equal(await value(app, 'health_ready'), ready)
  }
})

t.test('the limit of the heap is that of the process, and its start does not move', async (t) => {
  const env = { METRICS: 'true', DATABASE_URL: await sharedDatabase(), NODE_OPTIONS: '--max-old-space-size=150' }
  const service = new Service(t, env)
  const url = await service.url()
  const read = async (name: string) =>
    Number(new RegExp(`^${name} (.+)$`, 'm').exec(await (await fetch(`${url}/metrics`)).text())?.[1])
  const limit = await read('v8js_heap_size_limit_bytes')
  t.ok(limit >= 150 * 2 ** 20 && limit < getHeapStatistics().heap_size_limit, String(limit))
  const [start, now] = [await read('process_start_time_seconds'), Date.now() / 1_000]
  t.ok(start > now - 300 && start < now, `${start} of ${now}`)
  t.equal(await read('process_start_time_seconds'), start)
})
