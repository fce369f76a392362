import { readFile } from 'node:fs/promises'
import { get } from 'node:http'
import path from 'node:path'
import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { copyProject, database, event, MIGRATIONS, query, ROOT, shell, until } from '../support/helper.ts'
import { asProcess1, process1, Service } from '../support/process.ts'
import { ask } from '../support/tools.ts'

const skip = !asProcess1 && 'no process here may make a namespace of its own'

/** As docs/paas.md says: a platform gives PORT and DATABASE_URL, and you HOST and MIGRATIONS. */
t.test('a platform migrates in its release step, runs npm start as process 1, and stops it', { skip }, async (t) => {
  const source = await copyProject(t, { 'start.js': await readFile(path.join(ROOT, 'start.js'), 'utf8') })
  const DATABASE_URL = await database(t, { empty: true })
  await shell('npx', ['kysely', 'migrate:latest', '--no-outdated-check'], { DATABASE_URL }, source)
  t.equal((await query(DATABASE_URL, 'select from kysely_migration')).length, MIGRATIONS.length)

  const port = await freePort()
  const given = { PORT: String(port), DATABASE_URL, HOST: '::', MIGRATIONS: 'check' }
  // An empty variable is none: npm start says production itself.
  const service = new Service(
    t,
    { ...given, NODE_ENV: '' },
    { source, command: ['npm', 'start', '--silent'], wrapper: asProcess1 as string[] },
  )
  await service.logged('ready')
  t.match(await service.url(), new RegExp(`:${port}$`))

  // As the router of the platform asks, by a name that the service does not know.
  const asked = get({ port, host: '127.0.0.1', path: '/health/ready', headers: { host: 'healthcheck.example.com' } })
  const [response] = (await event(asked, 'response')) as [{ statusCode: number; resume(): void }]
  response.resume()
  t.equal(response.statusCode, 200)

  process.kill(process1(service), 'SIGTERM')
  await service.logged('leaving')
  // In production the router has SHUTDOWN_DELAY_MS to see it.
  const draining = await until(
    () => ask(`http://127.0.0.1:${port}/health/ready`),
    ({ status }) => status === 503,
  )
  t.match(draining.body, { draining: true })
  t.equal((await ask(`http://127.0.0.1:${port}/health/live`)).status, 200)
  t.equal(await service.exited, 0)
})

t.test('without its release step the service does not start on a platform, and says why', async (t) => {
  const service = new Service(t, { DATABASE_URL: await database(t, { empty: true }), MIGRATIONS: 'check' })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { msg: 'cannot start', err: { message: /pending/ } })
})
