import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { ROOT } from '../support/helper.ts'
import { Receiver } from '../support/otlp.ts'
import { preload } from '../support/process.ts'
import { ROUTES, traced } from './helper.ts'

const API = path.join(ROOT, 'node_modules/@opentelemetry/api')

/**
 * What an agent does ahead of the service: it starts an SDK by the same variables, over the API at `api`, and has a span
 * around each request that Node's server takes, if it is to.
 */
function agent(api: string, isAround: boolean): string {
  const from = (name: string) =>
    pathToFileURL(path.join(ROOT, 'node_modules/@opentelemetry', name, 'dist/index.mjs')).href
  return preload(`
    import { Server } from 'node:http'
    import { context, propagation, trace, SpanKind, ROOT_CONTEXT } from '${pathToFileURL(path.join(api, 'dist/index.mjs'))}'
    import { BatchSpanProcessor, TracerProvider } from '${from('sdk-trace')}'
    import { AsyncLocalStorageContextManager } from '${from('context-async-hooks')}'
    import { OTLPTraceExporter } from '${from('exporter-trace-otlp-proto')}'
    const processor = new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), scheduledDelayMillis: 50 })
    const provider = new TracerProvider({ spanProcessors: [processor] })
    trace.setGlobalTracerProvider(provider)
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    const { emit } = Server.prototype
    if (${isAround}) Server.prototype.emit = function (name, request, response) {
      if (name !== 'request') return emit.apply(this, arguments)
      const span = provider.getTracer('agent').startSpan('agent', { kind: SpanKind.SERVER }, ROOT_CONTEXT)
      response.once('close', () => span.end())
      return context.with(trace.setSpan(context.active(), span), () => emit.call(this, name, request, response))
    }`)
}

const options = (api: string, isAround: boolean) => ({
  NODE_OPTIONS: `${agent(api, isAround)} ${ROUTES}`,
})

/** The API as an older release has it. */
function olderApi(t: Test): string {
  const folder = t.testdir()
  cpSync(API, folder, { recursive: true })
  for (const file of ['dist/version.mjs', 'dist/internal/global-utils.mjs']) {
    const code = readFileSync(path.join(folder, file), 'utf8')
    writeFileSync(path.join(folder, file), code.replaceAll('1.10.0', '1.9.0'))
  }
  return folder
}

t.test('an agent’s span of the request has the ids of the log, and the route is a span below it', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, ask } = await traced(t, receiver, options(API, true), { source: ROOT })
  await ask('/traced/many')
  const server = await receiver.span('agent')
  const route = await receiver.span('GET /traced/many')
  const { traceId, spanId } = server
  t.match(route, { traceId, parentSpanId: spanId, attributes: { 'http.route': '/traced/many' } })
  t.match(await service.logged('request'), { traceId, spanId })
  t.equal(receiver.trace(traceId).length, 2, 'the SDK is one, and what the agent does not see is no span')
})

t.test('without one, the span of the route has them', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, ask } = await traced(t, receiver, options(API, false))
  await ask('/traced/many')
  const { traceId, spanId } = await receiver.span('GET /traced/many')
  t.match(await service.logged('request'), { traceId, spanId })
})

t.test('of an agent with an older API than the service has, the log has the ids', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, ask } = await traced(t, receiver, options(olderApi(t), true), { source: ROOT })
  await service.logged('the agent has an older OpenTelemetry')
  await ask('/traced/many')
  const { traceId, spanId } = await receiver.span('agent')
  t.match(await service.logged('request'), { traceId, spanId })
  t.same(
    receiver.spans.map(({ name }) => name),
    ['agent'],
  )
})
