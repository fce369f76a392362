import t, { type Test } from 'tap'
import { ROOT, until } from '../support/helper.ts'
import { Receiver } from '../support/otlp.ts'
import { ROUTES, traced } from './helper.ts'

const SECRET = 'api-key=hunter2'
const IMPATIENT = {
  OTEL_EXPORTER_OTLP_TIMEOUT: '2000',
  OTEL_EXPORTER_OTLP_HEADERS: SECRET,
  SHUTDOWN_TIMEOUT_MS: '5000',
}

/** Requests and probes are answered, and the service leaves in time, saying nothing but in its log. */
async function unharmed(t: Test, { service, ask }: Awaited<ReturnType<typeof traced>>) {
  for (let request = 0; request < 5; request++) t.equal((await ask('/traced/many')).status, 200)
  t.equal((await ask('/health/ready')).status, 200)
  const lost = await service.logged('traces are lost')
  t.match(lost, { level: 40, spans: Number, err: { message: String } })
  await ask('/traced/many')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.equal(service.output.trim().split('\n').length, service.logs.length, 'every line is one of the log')
  t.notMatch(service.output, /hunter2/)
  const told = (text: string) => service.logs.filter(({ msg }) => msg === text)
  const periods = 1 + told('traces are sent again').length
  for (const [kind, lines] of Map.groupBy(told('traces are lost'), ({ err }) => Object(err).message)) {
    t.ok(lines.length <= periods, `one line for each kind: ${kind}`)
  }
  return lost
}

t.test('a collector that answers with an error, or not in time', async (t) => {
  const receiver = await Receiver.start(t)
  for (const [behaviour, reason] of [
    [{ status: 500 }, 'error'],
    [{ status: 429, headers: { 'retry-after': '1' } }, 'error'],
    [{ status: 503 }, 'error'],
    [{ ms: 60_000 }, 'timeout'],
    ['hang', 'timeout'],
  ] as const) {
    await t.test(JSON.stringify(behaviour), async (t) => {
      receiver.behaviour = behaviour
      const source = behaviour === 'hang' ? { source: ROOT } : {}
      t.equal((await unharmed(t, await traced(t, receiver, IMPATIENT, source)))['reason'], reason)
    })
  }
})

t.test('no collector, and then one', async (t) => {
  const receiver = await Receiver.start(t)
  await receiver.refuse()
  const { service, ask } = await traced(t, receiver, IMPATIENT, { source: ROOT })
  t.equal((await ask('/traced/many')).status, 200)
  t.match(await service.logged('traces are lost'), { reason: 'refused', err: { code: 'ECONNREFUSED' } })
  await receiver.listen()
  await until(
    () => ask('/traced/many'),
    () => receiver.spans.length > 0,
  )
  await service.logged('traces are sent again')
  await receiver.refuse()
  await unharmed(t, { service, ask } as Awaited<ReturnType<typeof traced>>)
})

t.test('while the collector hangs, no more spans are kept than OTEL_BSP_MAX_QUEUE_SIZE says', async (t) => {
  const receiver = await Receiver.start(t)
  receiver.behaviour = 'hang'
  const env = { OTEL_BSP_MAX_QUEUE_SIZE: '100', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '50' }
  const { service, ask } = await traced(t, receiver, env)
  for (let request = 0; request < 50; request++) t.equal((await ask('/traced/many')).status, 200)
  receiver.behaviour = 'take'
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.ok(receiver.spans.length > 0 && receiver.spans.length <= 150, `${receiver.spans.length} of 2050`)
})

t.test('while it hangs, long queries fill no memory', async (t) => {
  const receiver = await Receiver.start(t)
  receiver.behaviour = 'hang'
  const env = { NODE_OPTIONS: `${ROUTES} --max-old-space-size=160` }
  const { ask } = await traced(t, receiver, env, { source: ROOT })
  for (let request = 0; request < 200; request++) t.equal((await ask('/traced/long')).status, 200)
})

t.test('what is left is sent when the service leaves', async (t) => {
  const receiver = await Receiver.start(t)
  const { service, ask } = await traced(t, receiver, { OTEL_BSP_SCHEDULE_DELAY: '60000' })
  const open = ask('/traced/late')
  await ask('/traced/many')
  service.child.kill('SIGTERM')
  t.equal((await open).status, 200)
  t.equal(await service.exited, 0)
  t.match(await receiver.span('GET /traced/many'), { kind: 'SERVER' })
  t.match(await receiver.span('GET /traced/late'), { kind: 'SERVER' }, 'also of the last request')
})
