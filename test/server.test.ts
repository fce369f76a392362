import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t from 'tap'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { backends, database, Service } from './helper.ts'

t.test('SIGTERM and SIGINT leave with 0', async (t) => {
  const DATABASE_URL = await database(t)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const service = new Service(t, { DATABASE_URL })
    const url = await service.url()
    await service.logged('ready')
    t.equal((await fetch(`${url}/health`)).status, 200)
    service.child.kill(signal)
    t.equal(await service.exited, 0, signal)
  }
})

t.test('a configuration that cannot be used: exit 1, one line, before the port opens', async (t) => {
  const service = new Service(t, { DATABASE_URL: 'postgres://user:hunter2@host:x/db', PORT: '99999' })
  t.equal(await service.exited, 1)
  t.equal(service.logs.length, 1)
  t.match(service.logs[0], { level: 60, msg: 'cannot start', err: { code: 'CONFIG_INVALID', message: /PORT.*/ } })
  t.notMatch(service.output, /hunter2|listening/)
})

t.test('port taken: exit 1, port named', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const service = new Service(t, { DATABASE_URL: await database(t), PORT: String(port) })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { err: { code: 'EADDRINUSE', message: new RegExp(`:${port}`) } })
})

t.test('wrong passwords end up in no output', async (t) => {
  const postgres = await startPostgres()
  const redis = await startRedis({ password: 'right' })
  t.teardown(() => Promise.all([postgres.close(), redis.close()]))
  const wrong = (url: string) => Object.assign(new URL(url), { password: 'hunter2' }).href

  const refused = new Service(t, { DATABASE_URL: wrong(postgres.url), REDIS_URL: wrong(redis.url), LOG_LEVEL: 'trace' })
  t.equal(await refused.exited, 1, 'of the database: exit 1')
  t.match(refused.fatal, { level: 60, msg: 'cannot start', err: { code: '28P01' } })
  t.notMatch(refused.output, /hunter2/)

  const degraded = new Service(t, { DATABASE_URL: postgres.url, REDIS_URL: wrong(redis.url), LOG_LEVEL: 'trace' })
  await degraded.logged('ready')
  await degraded.logged('redis failed')
  degraded.child.kill('SIGTERM')
  t.equal(await degraded.exited, 0)
  t.notMatch(degraded.output, /hunter2/)
})

t.test('no such database: exit 1', async (t) => {
  const url = new URL(backends.database)
  url.pathname = '/nowhere'
  const service = new Service(t, { DATABASE_URL: url.href })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { level: 60, err: { code: '3D000' } })
})
