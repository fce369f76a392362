import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { build } from '../../dev/build.ts'
import { copyProject, ROOT, sharedDatabase } from '../support/helper.ts'
import { type ReceivedSpan, Receiver } from '../support/otlp.ts'
import { preload, Service } from '../support/process.ts'
import { ask } from '../support/tools.ts'

const REGISTER = '@opentelemetry/auto-instrumentations-node/register'
/** A file that lies anywhere, as OpenTelemetry's operator for Kubernetes names it. */
const REQUIRE = `--require ${fileURLToPath(import.meta.resolve(REGISTER)).replace(/\.mjs$/, '.cjs')}`
const IMPORT = `--import ${REGISTER}`

const needed = ['serve.js', 'start.js', 'dev/fingerprint.js', 'dev/node-version.js', 'package-lock.json', 'Dockerfile']
const contents = needed.map(async (name) => [name, await readFile(path.join(ROOT, name), 'utf8')])
const files: Record<string, string> = Object.fromEntries(await Promise.all(contents))
const source = await copyProject(t, files)
const built = await copyProject(t, files)
await build(built)

const npm = ['npm', 'start', '--silent']
const image: string[] = JSON.parse(/^CMD (.*)$/m.exec(files['Dockerfile'] as string)?.[1] as string)

/** Asks both backends after so many milliseconds. */
const TRACED = preload(`
  import { subscribe, unsubscribe } from 'node:diagnostics_channel'
  subscribe('fastify.initialization', function first({ fastify }) {
    unsubscribe('fastify.initialization', first)
    queueMicrotask(() => fastify.register(async () => {
      fastify.get('/traced/:ms', async ({ params, log }) => {
        log.info('inside')
        await new Promise((asked) => setTimeout(asked, params.ms))
        await fastify.db.selectNoFrom(({ val }) => val('traced').as('traced')).execute()
        await fastify.redis.get('traced')
        return {}
      })
    }))
  })`)

interface Start {
  agent: string
  command: string[]
  source: string
}

async function start(t: Test, { agent, ...options }: Start, receiver: string) {
  const env = {
    NODE_OPTIONS: `--max-old-space-size-percentage=50 ${agent} ${TRACED}`,
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver,
    OTEL_METRICS_EXPORTER: 'none',
    OTEL_LOGS_EXPORTER: 'none',
    OTEL_TRACES_SAMPLER: 'of_the_agent',
    // The others ask the clouds who they are.
    OTEL_NODE_RESOURCE_DETECTORS: 'env',
  }
  const service = new Service(t, { DATABASE_URL: await sharedDatabase(), ...env }, options)
  const url = await service.url()
  await service.logged('ready')
  return { service, url }
}

const starts: Record<string, Start> = {
  'npm start, of the source': { agent: REQUIRE, command: npm, source },
  'npm start, of a build': { agent: REQUIRE, command: npm, source: built },
  'the image': { agent: REQUIRE, command: image, source: built },
  'the image, and an agent that is an ES module': { agent: IMPORT, command: image, source: built },
}

for (const [name, options] of Object.entries(starts)) {
  t.test(`an agent that is loaded first sees all of a request, also of the last one: ${name}`, async (t) => {
    const receiver = await Receiver.start(t)
    const { service, url } = await start(t, options, receiver.url)
    const answer = ask(`${url}/traced/1000`)
    const { traceId, spanId } = await service.logged('inside')
    service.child.kill('SIGTERM')
    t.equal((await answer).status, 200)
    t.equal(await service.exited, 0)

    const spans = receiver.trace(traceId as string)
    const one = (holds: (span: ReceivedSpan) => unknown) => spans.find(holds) ?? t.fail('no such span', { spans })
    const server = one(({ kind }) => kind === 'SERVER') as ReceivedSpan
    t.match(server, { spanId, attributes: { 'http.route': '/traced/:ms' } }, "the log has the agent's ids")
    const route = one(({ parentSpanId }) => parentSpanId === spanId) as ReceivedSpan
    t.match(route, { kind: 'INTERNAL', name: 'GET /traced/:ms' }, "Fastify's")
    for (const system of ['postgresql', 'redis']) {
      const within = (span: ReceivedSpan) => span.parentSpanId === route.spanId
      t.ok(
        spans.some((span) => within(span) && span.attributes['db.system.name'] === system),
        system,
      )
    }
  })
}

t.test('an agent whose collector is away keeps no service from its end', async (t) => {
  const receiver = await Receiver.start(t)
  receiver.behaviour = 'hang'
  const { service } = await start(t, starts['the image'] as Start, receiver.url)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})
