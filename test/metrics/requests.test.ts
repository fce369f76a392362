import t from 'tap'
import { type App, build, unstarted } from '../support/app.ts'
import { until } from '../support/helper.ts'
import { OWN, samples, value } from '../support/metrics.ts'

const DURATION = 'http_server_request_duration_seconds'
const ACTIVE = 'http_server_active_requests'

const labelsOf = async (app: App, http_route: string) =>
  (await samples(app, DURATION, { http_route })).map(({ labels }) => labels)

t.test('a 5xx is an error, a 4xx is one of the client', async (t) => {
  const app = await build(t, OWN, async (fastify) => {
    fastify.get<{ Params: { status: string } }>('/answer-9999/:status', async ({ params }, reply) =>
      reply.code(Number(params.status)).send(),
    )
  })
  for (const status of [200, 404, 503]) await app.inject(`/answer-9999/${status}`)
  const labels = { http_request_method: 'GET', url_scheme: 'http', http_route: '/answer-9999/:status' }
  t.same(await labelsOf(app, '/answer-9999/:status'), [
    { ...labels, http_response_status_code: '200' },
    { ...labels, http_response_status_code: '404' },
    { ...labels, http_response_status_code: '503', error_type: '503' },
  ])
})

t.test('the scheme is that which the client used, of two', async (t) => {
  const app = await build(t, { ...OWN, TRUST_PROXY: 'true' }, async (fastify) => {
    fastify.get('/scheme-9999', async () => 'x')
  })
  for (const scheme of ['https', 'http', 'gopher', 'gopher2']) {
    await app.inject({ url: '/scheme-9999', headers: { 'x-forwarded-proto': scheme } })
  }
  const labels = await labelsOf(app, '/scheme-9999')
  t.same(labels.map(({ url_scheme }) => url_scheme).sort(), ['http', 'https'])
})

t.test('requests without an answer are told, probes and scrapes aside', async (t) => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const app = await build(t, OWN, async (fastify) => {
    const waits = async () => {
      await released
      return 'waited'
    }
    fastify.get('/wait-9999', waits)
    fastify.get('/wait-quietly-9999', { config: { quiet: true } }, waits)
  })
  t.equal(await value(app, ACTIVE), undefined)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const leaving = new AbortController()
  const open = ['/wait-9999', '/wait-quietly-9999', '/wait-9999'].map((path) => fetch(url + path))
  const left = fetch(`${url}/wait-9999`, { signal: leaving.signal }).catch(() => {})
  const active = (count: number) =>
    until(
      () => value(app, ACTIVE, { http_request_method: 'GET', url_scheme: 'http' }),
      (found) => found === count,
    )
  await active(3)
  leaving.abort()
  await left
  await active(2)
  release()
  await Promise.all(open)
  await active(0)
})

t.test('what a hook ahead of the metrics has answered is no open request', async (t) => {
  const app = await unstarted(t, OWN)
  t.equal((await app.inject('/nowhere')).statusCode, 503)
  t.equal(await value(app, ACTIVE), 0)
  t.equal(await value(app, DURATION, { http_response_status_code: '503', error_type: '503' }), 1)
})

const waits = async (app: App) => (await samples(app, 'db_client_connection_wait_time_seconds'))[0]

t.test('how long a caller has waited for its connection is observed', async (t) => {
  const app = await build(t, { ...OWN, DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  const client = await app.pg.connect()
  const { count = 0, sum = 0 } = (await waits(app)) ?? {}
  t.ok(count > 0)
  const waiting = app.pg.query('select 1')
  const asked = performance.now()
  await until(
    () => value(app, 'db_client_connection_pending_requests'),
    (pending) => pending === 1,
  )
  const waitedMs = performance.now() - asked
  client.release()
  await waiting
  const after = await waits(app)
  t.equal(after?.count, count + 1)
  t.ok(((after?.sum ?? 0) - sum) * 1_000 > waitedMs)
})

t.test('a caller that got none is a timeout alone', async (t) => {
  const app = await unstarted(t, { ...OWN, DATABASE_URL: 'postgres://localhost:1/nowhere' })
  await t.rejects(app.pg.connect(), { code: 'ECONNREFUSED' })
  t.equal(await waits(app), undefined)
})
