import t from 'tap'
import { ROOT, sharedDatabase, until } from '../support/helper.ts'
import { Receiver } from '../support/otlp.ts'
import { Service } from '../support/process.ts'
import { ROUTES } from '../support/tools.ts'

const OPEN_METRICS = 'application/openmetrics-text'
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c'
const parent = (sampled: boolean) => ({ traceparent: `00-${TRACE_ID}-b7ad6b7169203331-0${sampled ? 1 : 0}` })

t.test('the duration of a request is linked to its trace, where that is kept', async (t) => {
  const receiver = await Receiver.start(t)
  const env = { ...ROUTES, DATABASE_URL: await sharedDatabase(), METRICS: 'true', OTEL_BSP_SCHEDULE_DELAY: '100' }
  const service = new Service(t, { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }, { source: ROOT })
  const url = await service.url()
  await service.logged('ready')
  const scrape = async (accept: string) => (await fetch(`${url}/metrics`, { headers: { accept } })).text()
  const observed = (route: string) =>
    until(
      () => scrape(OPEN_METRICS),
      (text) => new RegExp(`^http_server_request_duration_seconds_count.*http_route="${route}".* 1$`, 'm').test(text),
    )

  await fetch(`${url}/sleep?ms=0`, { headers: parent(false) })
  t.notMatch(await observed('/sleep'), ' # {')

  await fetch(`${url}/query`, { headers: parent(true) })
  const [span] = await receiver.received(({ name }) => name === 'GET /query')
  t.equal(span?.traceId, TRACE_ID)
  const lines = (await observed('/query')).split('\n').filter((line) => line.includes(' # {'))
  t.equal(lines.length, 1, 'of the bucket in which it is')
  const [before, exemplar] = (lines[0] as string).split(' # ') as [string, string]
  t.match(before, /^http_server_request_duration_seconds_bucket{.*http_route="\/query".*} 1$/)
  t.match(exemplar, new RegExp(`^{trace_id="${TRACE_ID}",span_id="${span?.spanId}"} [0-9.e-]+ \\d+(\\.\\d+)?$`))
  t.notMatch(await scrape('*/*'), ' # {', 'the text has no place for it')
})
