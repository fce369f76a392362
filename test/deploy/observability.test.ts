import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { freePort } from '../../dev/ports.ts'
import { startPostgres } from '../../dev/postgres.ts'
import { startRedis } from '../../dev/redis.ts'
import { dashboard, substituted, text } from '../support/dashboard.ts'
import { copyProject, query, ROOT, run, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { noPrometheus, OBSERVABILITY, Prometheus } from '../support/prometheus.ts'
import { ask, ROUTES } from '../support/tools.ts'

const rules = readFileSync(path.join(OBSERVABILITY, 'alerts.yaml'), 'utf8')
const charts = dashboard.panels.filter(({ type }) => type !== 'row')
/** A service without the cache shows the panels, and no data. */
const hasCache = existsSync(path.join(ROOT, 'src/cache'))
const expressions = [...charts.flatMap(({ targets = [] }) => targets), ...dashboard.annotations.list]
  .map(({ expr }) => expr)
  .filter((expr) => hasCache || !expr.includes('cache_'))

t.test(
  'Prometheus takes the alerts, and they fire when they should and not otherwise',
  { skip: noPrometheus },
  async () => {
    await run('promtool', ['check', 'rules', path.join(OBSERVABILITY, 'alerts.yaml')])
    await run('promtool', ['test', 'rules', path.join(OBSERVABILITY, 'alerts.test.yaml')])
  },
)

t.test('each alert leads to a section of its own in the runbook', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/troubleshooting.md'), 'utf8')
  const alerts = [...rules.matchAll(/- alert: (\w+)\n.*?runbook_url: (\S+)\n/gs)]
  t.ok(alerts.length > 0)
  for (const [, name = '', link] of alerts) {
    // A host may stand before it.
    t.match(link, new RegExp(`\\bdocs/troubleshooting\\.md#${name.toLowerCase()}$`))
    t.match(page, `\n### ${name}\n`)
  }
})

t.test('the dashboard can be imported anywhere, for any service', async (t) => {
  const ids = dashboard.panels.map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length)
  const variables = new Set(dashboard.templating.list.map(({ name }) => name))
  const used = new Set(Array.from(text.matchAll(/\$\{?(?!__)(\w+)/g), ([, name]) => name))
  t.same([...used].sort(), [...variables].sort())
  for (const { type, title, description, datasource, fieldConfig, targets = [] } of charts) {
    t.ok(title && description && fieldConfig?.defaults.unit, title)
    t.match(datasource?.uid, /^\$\{datasource\}$/, title)
    for (const { expr, legendFormat, instant = false } of targets) {
      t.ok(legendFormat && expr.includes('job="$job"'), expr)
      t.equal(instant, type === 'stat', title) // over a range it would show the last value that there was
    }
  }
})

/** Asks one after the other, until the test ends. */
async function load(t: Test, ...urls: string[]): Promise<void> {
  let stopped = false
  t.teardown(() => {
    stopped = true
  })
  while (!stopped) for (const url of urls) if ((await ask(url)).status === 0) await sleep(100) // nobody is there
}

t.test('faults show on the dashboard, and each has its alert', { skip: noPrometheus }, async (t) => {
  const prometheus = await Prometheus.start(t)
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const redis = await startRedis()
  t.teardown(() => redis.close())
  await query(postgres.url, 'create database unmigrated')
  const common = { ...ROUTES, METRICS: 'true', DATABASE_URL: postgres.url }
  const services: Service[] = []
  const start = async (instance: string, env: NodeJS.ProcessEnv = {}, options = {}) => {
    const service = new Service(t, { ...common, ...env }, options)
    services.push(service)
    const url = await service.url()
    prometheus.scrape(instance, url)
    return { service, url }
  }

  // Its pool is too small, its Redis stops, its handlers fail, and some are slow.
  const busy = await start('busy', {
    REDIS_URL: redis.url,
    DATABASE_POOL_MAX: '1',
    DATABASE_CONNECT_TIMEOUT_MS: '1000',
  })
  await busy.service.logged('ready')
  await redis.stop()
  void load(t, ...['/fail', '/sleep?ms=600', '/cached', '/%'].map((path) => busy.url + path))
  for (let callers = 0; callers < 8; callers++) void load(t, `${busy.url}/query?seconds=0.2`)

  const late = await start('late')
  void load(t, ...['/block?ms=150', '/cached'].map((path) => late.url + path))

  // Another process migrates.
  const unmigrated = Object.assign(new URL(postgres.url), { pathname: '/unmigrated' }).href
  const migrating = new pg.Client(unmigrated)
  migrating.on('error', () => {})
  await migrating.connect()
  t.teardown(() => migrating.end())
  await migrating.query('select pg_advisory_lock(3853314791062309107)')
  const source = await copyProject(t, {
    'migrations/99991231000000_observed.ts': `import { type Kysely, sql } from 'kysely'
export const up = (db: Kysely<never>) => sql\`select 1\`.execute(db)`,
  })
  await start('waiting', { NODE_OPTIONS: '', DATABASE_URL: unmigrated }, { source })

  const draining = await start('draining', { SHUTDOWN_DELAY_MS: '600000' })
  await draining.service.logged('ready')
  draining.service.child.kill('SIGTERM')
  await until(
    () => prometheus.query('lifecycle_phase{instance="draining", phase="draining"}'),
    ([phase]) => phase?.value[1] === '1',
  )

  const port = String(await freePort())
  for (let restarts = 0; ; restarts++) {
    const { service } = await start('restarting', { PORT: port })
    await until(
      () => prometheus.query(`changes(process_start_time_seconds{instance="restarting"}[15m])`),
      ([changes]) => Number(changes?.value[1]) === restarts,
    )
    if (restarts === 3) break
    service.child.kill('SIGKILL')
    await service.exited
  }

  await fires(t, prometheus, {
    ServiceErrors: undefined,
    ServiceSlow: undefined,
    ServiceDegraded: 'busy',
    DatabasePoolExhausted: 'busy',
    DatabaseConnectionWaits: 'busy',
    EventLoopLate: 'late',
    MigrationsPending: 'waiting',
    ReplicaNotReady: 'waiting',
    ServiceRestarts: 'restarting',
  })
  for (const expr of expressions) {
    await until(
      async () => ({ expr, results: await prometheus.query(substituted(expr)) }),
      ({ results }) => results.some(({ value }) => Number.isFinite(Number(value[1]))),
    )
  }
  // Others serve, and a replica that drains is no fault. On a busy machine they may all be late for a moment.
  await until(
    () => prometheus.query(`ALERTS{alertname=~"ServiceNotReady|ServiceDown"} or ALERTS{instance="draining"}`),
    ({ length }) => length === 0,
  )

  await postgres.stop('immediate')
  await fires(t, prometheus, { ServiceNotReady: undefined, ServiceDegraded: 'late' })
  for (const { child } of services) child.kill('SIGKILL')
  await fires(t, prometheus, { ServiceDown: undefined })
  // Without data Grafana would show what was there last.
  for (const { expr } of charts.find(({ title }) => title === 'Replicas ready')?.targets ?? []) {
    await until(
      () => prometheus.query(substituted(expr)),
      ([stat]) => stat?.value[1] === '0',
    )
  }
})

/** Waits for the alerts, each of this instance; `undefined`: of all together. */
async function fires(t: Test, prometheus: Prometheus, expected: Record<string, string | undefined>): Promise<void> {
  const isFiring = (firing: Awaited<ReturnType<Prometheus['query']>>) => (name: string) =>
    firing.some(({ metric }) => metric['alertname'] === name && metric['instance'] === expected[name])
  const firing = await until(
    () => prometheus.query('ALERTS{alertstate="firing"}'),
    (firing) => Object.keys(expected).every(isFiring(firing)),
  )
  for (const name of Object.keys(expected)) t.ok(isFiring(firing)(name), name)
}
