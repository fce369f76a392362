import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { backends, event, ROOT, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

t.test('SIGTERM and SIGINT leave with 0', async (t) => {
  const DATABASE_URL = await sharedDatabase()
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
  const service = new Service(t, { DATABASE_URL: 'postgres://user:hunter2@host:x/db', PORT: '99999' }, { source: ROOT })
  t.equal(await service.exited, 1)
  t.equal(service.logs.length, 1)
  t.match(service.logs[0], { level: 60, msg: 'cannot start', err: { code: 'CONFIG_INVALID', message: /PORT.*/ } })
  t.notMatch(service.output, /hunter2|listening/)
})

t.test('port taken: exit 1, port named', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await event(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const service = new Service(t, { DATABASE_URL: await sharedDatabase(), PORT: String(port) }, { source: ROOT })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { err: { code: 'EADDRINUSE', message: new RegExp(`:${port}`) } })
})

t.test(
  'HOST of another meaning, as conda sets it for its compilers, or of another machine: exit 1, named',
  async (t) => {
    for (const HOST of ['x86_64-conda-linux-gnu', '192.0.2.1']) {
      const service = new Service(t, { DATABASE_URL: await sharedDatabase(), HOST }, { source: ROOT })
      t.equal(await service.exited, 1)
      t.match(service.fatal, { err: { message: /^(getaddrinfo|listen) E.*HOST is no address of this machine/ } })
    }
  },
)

t.test('HOST=:: without IPv6 in the kernel: the service listens on IPv4', async (t) => {
  const without = preload(`
    import { Server } from 'node:net'
    const { listen } = Server.prototype
    Server.prototype.listen = function (options, ...rest) {
      if (options.host !== '::') return listen.call(this, options, ...rest)
      process.nextTick(() => this.emit('error', Object.assign(new Error('no IPv6'), { code: 'EAFNOSUPPORT' })))
      return this
    }`)
  const env = { DATABASE_URL: await sharedDatabase(), HOST: '::', NODE_OPTIONS: without }
  const service = new Service(t, env, { source: ROOT })
  t.match(await service.url(), /^http:\/\/127\.0\.0\.1:/)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

t.test('a wrong password of the database: exit 1, and in no output', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const wrong = Object.assign(new URL(postgres.url), { password: 'hunter2' })
  const service = new Service(t, { DATABASE_URL: wrong.href, LOG_LEVEL: 'trace' })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { level: 60, msg: 'cannot start', err: { code: '28P01' } })
  t.notMatch(service.output, /hunter2/)
})

t.test('no such database: exit 1', async (t) => {
  const url = new URL(backends.database)
  url.pathname = '/nowhere'
  const service = new Service(t, { DATABASE_URL: url.href })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { level: 60, err: { code: '3D000' } })
})
