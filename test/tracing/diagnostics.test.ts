import { diag } from '@opentelemetry/api'
import t from 'tap'
import { createFastify } from '../../src/core/requests.ts'
import { tellOfSdk } from '../../src/tracing/diagnostics.ts'

for (const [level, told] of [
  [undefined, ['40 of now']],
  ['', ['40 of now']],
  ['loud', ['40 of now']],
  ['info', ['40 of now', '30 informed']],
  ['ALL', ['40 of now', '30 informed', '20 debugged', '20 told all']],
] as const) {
  t.test(`what the SDK says is told as OTEL_LOG_LEVEL=${level} asks for`, async (t) => {
    t.teardown(() => diag.disable())
    const lines: string[] = []
    const write = (line: string) => {
      const { level, detail, err } = JSON.parse(line)
      lines.push(`${level} ${detail ?? err.message}`)
    }
    const app = createFastify({ stream: { write } })
    app.log.level = 'debug'
    tellOfSdk(app.log, level)
    lines.length = 0 // the API tells of itself
    diag.warn('of now')
    diag.info('informed')
    diag.debug('debugged')
    diag.verbose('told all')
    t.same(lines, told)
  })
}
