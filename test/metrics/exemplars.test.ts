import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { build } from '../support/app.ts'
import { OWN } from '../support/metrics.ts'

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c'
const SPAN_ID = 'b7ad6b7169203331'

/** Fastify tells of an instance before the service is registered on it: this one has traces, whoever makes them. */
function traceNext(): void {
  subscribe('fastify.initialization', function onNext(message) {
    unsubscribe('fastify.initialization', onNext)
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.startTrace = ({ url }) => ({
      traceId: TRACE_ID,
      spanId: SPAN_ID,
      isSampled: url?.startsWith('/kept') === true,
    })
  })
}

t.test('a trace that is kept is an exemplar of the bucket of its request, in OpenMetrics alone', async (t) => {
  traceNext()
  const app = await build(t, OWN, async (fastify) => {
    for (const path of ['/kept-9999', '/dropped-9999']) fastify.get(path, async () => 'x')
  })
  await app.pg.query('select 1') // a wait for a connection has no trace
  for (const url of ['/kept-9999', '/dropped-9999']) await app.inject(url)
  const scrape = async (accept: string) => (await app.inject({ url: '/metrics', headers: { accept } })).body
  const lines = (await scrape('application/openmetrics-text')).split('\n').filter((line) => line.includes(' # {'))
  t.equal(lines.length, 1)
  t.match(lines[0], /^http_server_request_duration_seconds_bucket{.*http_route="\/kept-9999".*} 1 # {/)
  t.match(lines[0], new RegExp(` # {trace_id="${TRACE_ID}",span_id="${SPAN_ID}"} [0-9.e-]+ [0-9.]+$`))
  t.notMatch(await scrape('*/*'), ' # {')
})
