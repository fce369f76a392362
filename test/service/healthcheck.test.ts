import { execFile, spawn } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { promisify } from 'node:util'
import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { event, PATIENCE_MS, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

const isIPv6Here = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === '::1'))

t.test("Docker's health check passes on 200 alone", async (t) => {
  const port = String(await freePort())
  const check = async (path: string, env: NodeJS.ProcessEnv = {}) => {
    const child = spawn(process.execPath, ['src/healthcheck.ts', path], { env: { ...process.env, PORT: port, ...env } })
    return (await event(child, 'exit'))[0]
  }
  t.equal(await check('/health/live'), 1, 'nothing listens')

  const service = new Service(t, { PORT: port, DATABASE_URL: await sharedDatabase() })
  await service.logged('ready')
  t.equal(await check('/health/live'), 0)
  t.equal(await check('/health/ready'), 0)
  t.equal(await check('/no/such/route'), 1)

  const proxy = 'http://127.0.0.1:1'
  t.equal(await check('/health/live', { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy, http_proxy: proxy }), 0, 'no proxy')

  t.ok((await asked('')).includes(3000), 'port 3000 unless PORT has a value')
})

t.test('the health check asks the address that the service listens on', async (t) => {
  const DATABASE_URL = await sharedDatabase()
  const family = isIPv6Here ? ['::', '::1', 'localhost'] : []
  for (const HOST of ['127.0.0.1', '0.0.0.0', ...family]) {
    const PORT = String(await freePort())
    const service = new Service(t, { HOST, PORT, DATABASE_URL })
    await service.logged('ready')
    const child = spawn(process.execPath, ['src/healthcheck.ts'], { env: { ...process.env, HOST, PORT } })
    t.equal((await event(child, 'exit'))[0], 0, HOST)
    if (HOST === '::') {
      for (const address of ['127.0.0.1', '[::1]']) {
        t.equal((await fetch(`http://${address}:${PORT}/health/live`)).status, 200, 'both families')
      }
    }
    service.child.kill('SIGTERM')
    t.equal(await service.exited, 0)
  }
})

/** The ports that it connects to, whatever answers there. */
async function asked(PORT: string): Promise<number[]> {
  const told = preload(`
    import { Socket } from 'node:net'
    const { connect } = Socket.prototype
    Socket.prototype.connect = function (...args) {
      const [options] = Array.isArray(args[0]) ? args[0] : args
      console.log(options.port)
      this.destroy(new Error('not in a test'))
      return this
    }`)
  const env = { ...process.env, PORT }
  const failed = promisify(execFile)(process.execPath, [told, 'src/healthcheck.ts'], { env, timeout: PATIENCE_MS })
  const { stdout } = await failed.catch((failure: { stdout: string }) => failure)
  return stdout.trim().split('\n').map(Number)
}
