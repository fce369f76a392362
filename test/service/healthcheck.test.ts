import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { event, PATIENCE_MS, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

t.test("Docker's health check passes on 200 alone", async (t) => {
  const port = String(await freePort())
  const check = async (path: string) => {
    const child = spawn(process.execPath, ['src/healthcheck.ts', path], { env: { ...process.env, PORT: port } })
    return (await event(child, 'exit'))[0]
  }
  t.equal(await check('/health/live'), 1, 'nothing listens')

  const service = new Service(t, { PORT: port, DATABASE_URL: await sharedDatabase() })
  await service.logged('ready')
  t.equal(await check('/health/live'), 0)
  t.equal(await check('/health/ready'), 0)
  t.equal(await check('/no/such/route'), 1)

  t.ok((await asked('')).includes(3000), 'port 3000 unless PORT has a value')
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
