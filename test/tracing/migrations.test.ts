import t from 'tap'
import { unstarted } from '../support/app.ts'
import { copyProject, database, MIGRATIONS, migrationsFolder, ROOT, until } from '../support/helper.ts'
import { Receiver } from '../support/otlp.ts'
import { Service } from '../support/process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

const creates = (table: string) =>
  `export const up = (db) => db.schema.createTable('${table}').addColumn('n', 'int4').execute()`
const FIRST = '99990101000000_traced_first'
const SECOND = '99990101000001_traced_second'

t.test('a migration has a span, below one of the start', async (t) => {
  const receiver = await Receiver.start(t)
  const env = { DATABASE_URL: await database(t, { empty: true }), OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }
  const service = new Service(t, env, { source: ROOT })
  await service.logged('ready')
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  const { spanId } = await receiver.span('migrations')
  const migrated = receiver.spans.filter(({ name }) => name === 'migrate')
  t.same(
    migrated.map(({ attributes }) => attributes['migration.name']),
    MIGRATIONS,
  )
  for (const span of migrated) {
    t.equal(span.parentSpanId, spanId)
    t.ok(
      receiver.spans.some(({ parentSpanId, kind }) => kind === 'CLIENT' && parentSpanId === span.spanId),
      'has its statements',
    )
  }
})

t.test('one that fails is seen, although the process ends', async (t) => {
  const receiver = await Receiver.start(t)
  const source = await copyProject(t, {
    [`migrations/${FIRST}.ts`]: creates('traced_first'),
    [`migrations/${SECOND}.ts`]: `export const up = () => { throw new Error('password=hunter2') }`,
  })
  const DATABASE_URL = await database(t)
  const service = new Service(t, { DATABASE_URL, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }, { source })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { msg: 'cannot start' })
  const [first, second] = await receiver.received(({ name }) => name === 'migrate', 2)
  t.match(first, { status: { code: 'UNSET' }, attributes: { 'migration.name': FIRST } })
  t.match(second, {
    status: { code: 'ERROR' },
    attributes: { 'migration.name': SECOND },
    events: [{ name: 'exception' }],
  })
  t.match(await receiver.span('migrations'), { status: { code: 'ERROR' } })
  t.notMatch(JSON.stringify(receiver.spans), /hunter2/)
})

t.test('in this process, which makes spans no more when the service is closed', async (t) => {
  const receiver = await Receiver.start(t)
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.url // the SDK reads it
  const folder = migrationsFolder(t, { [`${FIRST}.ts`]: `export const up = () => { throw new Error('no') }` })
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }
  for (const times of [1, 2]) {
    const app = await unstarted(t, env, { folder })
    await t.rejects(app.lifecycle.start())
    await app.close()
    t.equal(receiver.spans.filter(({ name, status }) => name === 'migrations' && status.code === 'ERROR').length, times)
  }
})

t.test('so is one that SIGTERM comes behind', async (t) => {
  const receiver = await Receiver.start(t)
  const source = await copyProject(t, {
    [`migrations/${FIRST}.ts`]: creates('traced_first'),
    [`migrations/${SECOND}.ts`]: creates('traced_second'),
  })
  const proxy = await TcpProxy.start(t, await database(t))
  proxy.hold('create table "traced_second"')
  const service = new Service(t, { DATABASE_URL: proxy.url, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }, { source })
  await until(
    async () => service.logs.some(({ migration }) => migration === FIRST),
    (isApplied) => isApplied,
  )
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
  t.match(await receiver.span('migrate'), { attributes: { 'migration.name': FIRST } })
})
