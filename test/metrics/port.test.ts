import { connect, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { configure, unstarted } from '../support/app.ts'
import { event, ROOT, sharedDatabase, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { ask, ROUTES } from '../support/tools.ts'

const OWN_PORT = { METRICS: 'true', METRICS_PORT: '0' }
const LISTENS = 'Metrics listening at '
const HALF_BODY = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{'

async function start(t: Test, env: NodeJS.ProcessEnv = {}) {
  const service = new Service(
    t,
    { ...ROUTES, ...OWN_PORT, DATABASE_URL: await sharedDatabase(), ...env },
    { source: ROOT },
  )
  const { msg } = await service.logged(LISTENS)
  return { service, url: await service.url(), metrics: msg.slice(LISTENS.length) }
}

const status = async (url: string, method = 'GET') => (await fetch(url, { method })).status

t.test('on a port of its own there is /metrics and nothing else, and the port of the service has none', async (t) => {
  const { service, url, metrics } = await start(t)
  await service.logged('ready')
  const scrape = await fetch(`${metrics}/metrics`)
  t.match(await scrape.text(), 'health_check_status{check="database"} 1\n')
  t.match(scrape.headers.get('content-type'), /version=0\.0\.4/)
  t.equal(await status(`${metrics}/metrics`, 'HEAD'), 200)
  for (const path of ['/', '/health', '/health/live', '/sleep?ms=0']) t.equal(await status(metrics + path), 404, path)
  t.equal(await status(`${metrics}/metrics`, 'POST'), 404)
  t.equal(await status(`${url}/metrics`), 404)
  t.equal(await status(`${url}/metrics`, 'HEAD'), 404)
  t.equal(await status(`${url}/health/ready`), 200)
  t.notMatch(await (await fetch(`${metrics}/metrics`)).text(), 'http_route="/metrics"')
})

t.test('it answers while the service starts, and until it has left', async (t) => {
  const starting = await start(t, { DATABASE_URL: 'postgres://127.0.0.1:1/nowhere' })
  await starting.service.logged('waiting for the database')
  t.equal(await status(`${starting.metrics}/metrics`), 200)

  const { service, url, metrics } = await start(t, { SHUTDOWN_DELAY_MS: '500' })
  await service.logged('ready')
  const slow = ask(`${url}/sleep?ms=1500`)
  await ask(`${url}/sleep?ms=0`) // behind it
  for (const half of ['GET /metrics HTTP/1.1\r\n', HALF_BODY]) {
    const client = connect(Number(new URL(metrics).port), new URL(metrics).hostname).on('error', () => {})
    await event(client, 'connect')
    client.write(half)
  }
  service.child.kill('SIGTERM')
  await service.logged('leaving')
  // The port of the service is closed, a request is in flight.
  await until(
    () => ask(`${url}/health/live`),
    (answer) => answer.status === 0,
  )
  t.equal(await status(`${metrics}/metrics`), 200)
  t.equal((await slow).status, 200)
  t.equal(await service.exited, 0, 'neither an idle scraper nor half a request keeps it')
  await t.rejects(fetch(metrics))
})

t.test('a taken port ends the boot, and the setting is named', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await event(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const env = { ...OWN_PORT, DATABASE_URL: await sharedDatabase(), METRICS_PORT: String(port) }
  const service = new Service(t, env, { source: ROOT })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { msg: 'cannot start', err: { message: new RegExp(`${port} \\(METRICS_PORT\\)$`) } })
  t.notMatch(service.output, 'Server listening at')
  // What has not opened does not keep the rest from closing.
  const closed = await unstarted(t, env).then(String, (err: Error) => err.message)
  t.match(closed, '(METRICS_PORT)')
})

t.test('connections that nobody uses keep no scraper out', async (t) => {
  const { service, metrics } = await start(t)
  const { port, hostname } = new URL(metrics)
  const idle = Array.from({ length: 40 }, () => connect(Number(port), hostname).on('error', () => {}))
  t.teardown(() => {
    for (const socket of idle) socket.destroy()
  })
  await service.logged('connections are at their limit')
  const answer = await until(
    () => status(`${metrics}/metrics`).catch(String),
    (answer) => answer === 200,
  )
  t.equal(answer, 200)
})

t.test('HOST holds for it', async (t) => {
  const { metrics } = await start(t, { HOST: '::' })
  t.equal(await status(`http://127.0.0.1:${new URL(metrics).port}/metrics`), 200)
})

t.test('off, there is no port; set in vain or twice, it is refused', async (t) => {
  const DATABASE_URL = await sharedDatabase()
  const service = new Service(t, { DATABASE_URL, METRICS: 'true' })
  await service.logged('ready')
  t.notMatch(service.output, LISTENS)
  for (const [env, problem] of [
    [{ METRICS_PORT: '9464' }, 'METRICS_PORT needs METRICS=true'],
    [{ METRICS: 'true', METRICS_PORT: '9464', PORT: '9464' }, 'METRICS_PORT and PORT must differ'],
    [{ METRICS: 'true', METRICS_PORT: 'tcp://10.0.0.1:9464' }, /METRICS_PORT must be a whole number.*service link/],
  ] as const) {
    await t.rejects(configure(t, { DATABASE_URL, ...env }), { message: problem })
  }
})
