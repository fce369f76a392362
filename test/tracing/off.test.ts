import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { configure } from '../support/app.ts'
import { ROOT, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

/** Tells of each file that is loaded. */
const TELLS = preload(`
  import { registerHooks } from 'node:module'
  registerHooks({ load(url, context, next) {
    if (url.startsWith('file:')) console.error(JSON.stringify({ loaded: url }))
    return next(url, context)
  } })`)
/** Of @opentelemetry/api, which all of OpenTelemetry needs. */
const API = 'Attempted duplicate registration of API'

t.test('off, nothing of OpenTelemetry is loaded', async (t) => {
  const DATABASE_URL = await sharedDatabase()
  for (const source of [ROOT, undefined]) {
    for (const [env, isLoaded] of [
      [{}, false],
      [{ OTEL_SERVICE_NAME: 'unused' }, false],
      [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }, false],
      [{ OTEL_SDK_DISABLED: 'True', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }, false],
      [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:1' }, true],
    ] as const) {
      const service = new Service(t, { DATABASE_URL, NODE_OPTIONS: TELLS, ...env }, source ? { source } : {})
      const answer = await fetch(`${await service.url()}/nowhere`)
      await answer.body?.cancel()
      const line = await service.logged('request')
      t.equal('spanId' in line, isLoaded)
      service.child.kill('SIGTERM')
      t.equal(await service.exited, 0)
      const files = Array.from(service.output.matchAll(/^\{"loaded":"(.+)"\}$/gm), ([, url]) =>
        fileURLToPath(url as string),
      )
      t.ok(files.length > 0)
      t.equal(
        files.some((file) => readFileSync(file, 'utf8').includes(API)),
        isLoaded,
        JSON.stringify(env),
      )
    }
  }
})

t.test('what the SDK would replace by a default ends the boot', async (t) => {
  const DATABASE_URL = await sharedDatabase()
  for (const [name, value] of [
    ['OTEL_TRACES_EXPORTER', 'zipkin'],
    ['OTEL_TRACES_SAMPLER', 'some'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'localhost:4318'],
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'http://:::'],
    ['OTEL_TRACES_SAMPLER_ARG', '0,1'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'http'],
  ] as const) {
    await t.rejects(configure(t, { DATABASE_URL, [name]: value }), new RegExp(`${name} must `))
  }
})
