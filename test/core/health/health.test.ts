import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import env from '../../../src/core/config/env.ts'
import health, { settings } from '../../../src/core/health/health.ts'

/** The health plugin alone, with checks that the test adds: what a template's user does. */
async function build(t: Test, variables: NodeJS.ProcessEnv = {}): Promise<FastifyInstance> {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(env, { features: [{ name: 'health', settings }], env: variables })
  await app.register(health)
  return app
}

t.test('a thousand probes cost one check', async (t) => {
  const { health } = await build(t)
  let calls = 0
  health.add({
    name: 'counted',
    required: true,
    check: async () => {
      calls++
    },
  })
  await Promise.all(Array.from({ length: 500 }, () => health.results()))
  for (let i = 0; i < 500; i++) await health.results()
  t.equal(calls, 1)
})

t.test('checks run together', async (t) => {
  const { health } = await build(t)
  const first = Promise.withResolvers<void>()
  health.add({ name: 'first', required: true, check: () => first.promise })
  health.add({ name: 'second', required: true, check: async () => first.resolve() })
  t.match(Object.fromEntries(await health.results()), { first: { status: 'ok' }, second: { status: 'ok' } })
})

t.test('a check that hangs fails at its deadline, and alone', async (t) => {
  const { health } = await build(t, { HEALTH_TIMEOUT_MS: '50' })
  health.add({ name: 'heedful', required: false, check: (signal) => sleep(60_000, undefined, { signal }) })
  health.add({ name: 'hung', required: false, check: () => new Promise(() => {}) })
  health.add({ name: 'fine', required: true, check: async () => {} })
  t.match(Object.fromEntries(await health.results()), {
    heedful: { status: 'error', latencyMs: null, reason: 'timeout' },
    hung: { required: false, status: 'error', latencyMs: null, reason: 'timeout' },
    fine: { status: 'ok', latencyMs: Number },
  })
})

t.test('a check that rejects with nothing fails, and is asked again', async (t) => {
  const { health } = await build(t, { HEALTH_CACHE_MS: '0' })
  let reject = true
  health.add({ name: 'silent', required: true, check: () => (reject ? Promise.reject() : Promise.resolve()) })
  t.match((await health.results()).get('silent'), { status: 'error', reason: 'error' })
  reject = false
  t.match((await health.results()).get('silent'), { status: 'ok' })
})

t.test('a check that throws at once fails', async (t) => {
  const { health } = await build(t)
  health.add({
    name: 'broken',
    required: true,
    check: () => {
      throw new Error('no')
    },
  })
  t.match((await health.results()).get('broken'), { status: 'error', reason: 'error' })
})

t.test('a lost connection empties the cache, also while a check is under way', async (t) => {
  const { health } = await build(t)
  const flights: PromiseWithResolvers<void>[] = []
  health.add({
    name: 'slow',
    required: true,
    check: () => {
      const flight = Promise.withResolvers<void>()
      flights.push(flight)
      return flight.promise
    },
  })
  const before = health.results()
  health.invalidate()
  const after = health.results()
  t.equal(flights.length, 2, 'the next probe asks again')
  flights[1]?.reject(new Error('gone'))
  t.match((await after).get('slow'), { status: 'error' })
  flights[0]?.resolve()
  t.match((await before).get('slow'), { status: 'ok' })
  t.match((await health.results()).get('slow'), { status: 'error' }, 'the older answer is not remembered')
})

t.test('each change of health is logged once, with reason and duration', async (t) => {
  const lines: { msg: string; level: number; reason?: string; durationMs?: number }[] = []
  const app = fastify({ logger: { stream: { write: (line: string) => lines.push(JSON.parse(line)) } } })
  t.teardown(() => app.close())
  await app.register(env, { features: [{ name: 'health', settings }], env: { HEALTH_CACHE_MS: '0' } })
  await app.register(health)
  let fails = true
  app.health.add({
    name: 'flaky',
    required: true,
    check: async () => {
      if (fails) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    },
  })
  await app.health.results()
  await app.health.results()
  fails = false
  await app.health.results()
  await app.health.results()
  t.match(lines, [
    { level: 40, msg: 'health check failed', check: 'flaky', reason: 'refused' },
    { level: 30, msg: 'health check recovered', check: 'flaky', durationMs: Number },
  ])
  t.equal(lines.length, 2)
})

t.test('of a fetch that failed the reason and the log are those of its cause', async (t) => {
  const lines: unknown[] = []
  const app = fastify({ logger: { stream: { write: (line: string) => lines.push(JSON.parse(line)) } } })
  t.teardown(() => app.close())
  await app.register(env, { features: [{ name: 'health', settings }], env: {} })
  await app.register(health)
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const ask = async (signal: AbortSignal) => void (await fetch(url, { signal }))
  app.health.add({ name: 'ended', check: ask })
  t.match((await app.health.results()).get('ended'), { reason: 'refused' })
  await new Promise((resolve) => server.close(resolve))
  app.health.add({ name: 'closed', check: ask })
  t.match((await app.health.results()).get('closed'), { reason: 'refused' })
  app.health.add({ name: 'faulty', check: () => Promise.reject(new TypeError('of its own')) })
  t.match((await app.health.results()).get('faulty'), { reason: 'error' })
  t.match(lines, [
    { check: 'ended', reason: 'refused', err: { code: /^(UND_ERR_SOCKET|ECONNRESET)$/ } },
    { check: 'closed', reason: 'refused', err: { code: 'ECONNREFUSED' } },
    { check: 'faulty', reason: 'error', err: { message: 'of its own' } },
  ])
})

t.test('readiness can require any check that was added, and none else', async (t) => {
  const add = (app: FastifyInstance) =>
    app.health.add({ name: 'payments', required: false, check: () => Promise.reject(new Error('down')) })
  const app = await build(t, { READINESS_REQUIRES: 'payments' })
  add(app)
  await app.ready()
  t.match((await app.health.results()).get('payments'), { required: true, status: 'error' })

  const other = await build(t, { READINESS_REQUIRES: 'payments,kafka' })
  add(other)
  await t.rejects(async () => other.ready(), {
    code: 'CONFIG_INVALID',
    message: 'configuration: READINESS_REQUIRES must be a list of: payments',
  })
})
