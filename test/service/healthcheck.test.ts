import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'

t.test("Docker's health check passes on 200 alone", async (t) => {
  const port = String(await freePort())
  const check = async (path: string, PORT = port) => {
    const child = spawn(process.execPath, ['src/healthcheck.ts', path], { env: { ...process.env, PORT } })
    return (await once(child, 'exit'))[0]
  }
  t.equal(await check('/health/live'), 1, 'nothing listens')

  const service = new Service(t, { PORT: port, DATABASE_URL: await sharedDatabase() })
  await service.logged('ready')
  t.equal(await check('/health/live'), 0)
  t.equal(await check('/health/ready'), 0)
  t.equal(await check('/no/such/route'), 1)

  const status = await fetch('http://localhost:3000/health/live').then((response) => response.status, String)
  t.equal(await check('/health/live', ''), status === 200 ? 0 : 1, 'port 3000 unless PORT has a value')
})
