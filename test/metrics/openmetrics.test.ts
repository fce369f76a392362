import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { type App, build } from '../support/app.ts'
import { OWN } from '../support/metrics.ts'

const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
const TEXT = 'text/plain; version=0.0.4; charset=utf-8'

/** What releases of Prometheus send. */
const OF_2 =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
const OF_3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1'
const OF_3_WITH_TEXT_FIRST =
  'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1'

const scrape = (app: App, accept?: string) =>
  app.inject({ url: '/metrics', headers: accept === undefined ? {} : { accept } })

t.test('OpenMetrics is served to those that name it, and like it as much as the text', async (t) => {
  const app = await build(t, OWN)
  for (const [accept, type] of [
    [OF_2, OPEN_METRICS],
    [OF_3, OPEN_METRICS],
    [`application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.6,${OF_3}`, OPEN_METRICS],
    ['application/openmetrics-text', OPEN_METRICS],
    ['Application/OpenMetrics-Text; Version=1.0.0; Q=0.5', OPEN_METRICS],
    ['application/openmetrics-text, text/plain', OPEN_METRICS],
    ['text/plain;q=0.1, */*;q=1, application/openmetrics-text;q=0.5', OPEN_METRICS],
    [undefined, TEXT],
    ['*/*', TEXT],
    ['text/html,*/*;q=0.8', TEXT],
    ['text/plain;version=0.0.4', TEXT],
    [OF_3_WITH_TEXT_FIRST, TEXT],
    ['application/openmetrics-text;q=0, text/plain;q=0.1', TEXT],
    ['application/openmetrics-text;q=0.5, text/*', TEXT],
    ['application/openmetrics-text;q=0.5, */*', TEXT],
    ['application/openmetrics-text;version=0.0.1', TEXT],
    ['application/openmetrics-text;q=much', TEXT],
    [', ;q=1', TEXT],
  ] as const) {
    const answer = await scrape(app, accept)
    t.equal(answer.headers['content-type'], type, accept ?? 'none')
    t.equal(answer.body.endsWith('# EOF\n'), type === OPEN_METRICS)
    const head = await app.inject({ method: 'HEAD', url: '/metrics', headers: accept === undefined ? {} : { accept } })
    t.equal(head.headers['content-type'], type)
  }
})

t.test('scrapers that ask at the same time get what each has asked for', async (t) => {
  const app = await build(t, OWN)
  const accepts = Array.from({ length: 20 }, (_, n) => (n % 2 ? OF_3 : '*/*'))
  const bodies = await Promise.all(accepts.map(async (accept) => (await scrape(app, accept)).body))
  for (const [n, body] of bodies.entries()) {
    t.equal(body.match(/^# EOF$/gm)?.length ?? 0, n % 2)
    t.match(body, n % 2 ? /^# TYPE log_lines_lost counter$/m : /^# TYPE log_lines_lost_total counter$/m)
    t.match(body, /^log_lines_lost_total \d/m, 'the sample has the same name in both')
  }
})

const skip = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false

t.test("Prometheus's own parser of OpenMetrics reads all of it", { skip }, async (t) => {
  const app = await build(t, OWN, async (fastify) => {
    fastify.get('/things/:id', async () => 'thing')
  })
  for (const url of ['/things/1', '/%']) await app.inject(url)
  const { body } = await scrape(app, OF_3)
  // This command wants the time of each sample, which a scrape has not.
  const file = path.join(t.testdir(), 'metrics')
  const imported = (text: string) => {
    writeFileSync(file, text.replaceAll(/^[^#\n].*$/gm, `$& ${Date.now() / 1_000}`))
    const args = ['tsdb', 'create-blocks-from', 'openmetrics', file, path.join(t.testdirName, 'blocks')]
    const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' })
    return { status, text: stdout + stderr }
  }
  t.equal(imported(body).status, 0, imported(body).text)
  t.equal(imported(`${body}# EOF\n`).status, 1, 'it is strict')
  t.equal(imported(body.replace('# EOF\n', '')).status, 1)
})
