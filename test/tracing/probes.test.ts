import t from 'tap'
import { ROOT, sharedDatabase } from '../support/helper.ts'
import { Receiver } from '../support/otlp.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { traced } from './helper.ts'

t.test('probes and scrapes make no span, nor does what the service asks on its own', async (t) => {
  const receiver = await Receiver.start(t)
  const proxy = await TcpProxy.start(t, await sharedDatabase())
  const env = { DATABASE_URL: proxy.url, METRICS: 'true' }
  const { ask } = await traced(t, receiver, env, { source: ROOT })
  for (const path of ['/health/live', '/health/ready', '/health', '/health/db', '/metrics']) {
    await ask(path, { headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } })
  }
  // Both have the service ask the database over a connection of its own, from within a request.
  await ask('/traced/health')
  await ask('/traced/late')
  // The pool's connections die in silence: the service finds that out, and opens others.
  proxy.deaden()
  await ask('/traced/many')
  await ask('/health/ready')
  await ask('/traced/stream')
  await receiver.span('GET /traced/stream')

  t.same([...new Set(receiver.spans.map(({ name }) => name.replace(/(pg.query:SELECT).*/, '$1')))].sort(), [
    'GET /traced/health',
    'GET /traced/late',
    'GET /traced/many',
    'GET /traced/stream',
    'pg-pool.connect',
    'pg.query:SELECT',
  ])
  t.notMatch(JSON.stringify(receiver.spans), /pg_backend_pid/)
  const requests = receiver.spans.filter(({ kind }) => kind === 'SERVER')
  t.same(
    receiver.spans.filter(
      ({ spanId, parentSpanId }) => !requests.some((request) => [spanId, parentSpanId].includes(request.spanId)),
    ),
    [],
    'each belongs to a request',
  )
  const [health] = requests
  t.match(health, { name: 'GET /traced/health' })
  t.equal(receiver.trace(health?.traceId as string).length, 1)
})
