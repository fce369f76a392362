import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { backends, ROOT, shell, until } from '../support/helper.ts'
import { ELSEWHERE } from '../support/names.ts'
import { Service } from '../support/process.ts'

const SSL_REQUEST = 80_877_103
const TLS_HANDSHAKE = 22

/** Whoever listens in between. It says that it knows no TLS, asks for the password, and keeps what it hears. */
async function eavesdropper(t: Test) {
  const heard: Buffer[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      heard.push(chunk)
      if (chunk.length === 8 && chunk.readInt32BE(4) === SSL_REQUEST) socket.write('N')
      // AuthenticationCleartextPassword; then it has heard enough.
      else if (chunk[0] === 0) socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]))
      else socket.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { heard: () => Buffer.concat(heard), database: `postgres://user:hunter2@database.example:${port}/app`, port }
}

/** It was asked for TLS, and nothing else was said to it. */
function heardNothing(t: Test, heard: Buffer): void {
  t.ok(heard.length >= 8, 'it was asked')
  for (let at = 0; at < heard.length; at += 8) t.equal(heard.readInt32BE(at + 4), SSL_REQUEST)
}

for (const [name, variables] of Object.entries<(database: string) => NodeJS.ProcessEnv>({
  'in development': (DATABASE_URL) => ({ DATABASE_URL, NODE_ENV: 'development' }),
  'in a test': (DATABASE_URL) => ({ DATABASE_URL, NODE_ENV: 'test' }),
  'in production': (DATABASE_URL) => ({ DATABASE_URL, NODE_ENV: 'production' }),
  'by the name of its migrations': (DATABASE_MIGRATION_URL) => ({
    DATABASE_URL: backends.database,
    DATABASE_MIGRATION_URL,
  }),
})) {
  t.test(`${name} nobody on the way hears the password of a database elsewhere`, async (t) => {
    const { heard, database } = await eavesdropper(t)
    const service = new Service(t, { NODE_OPTIONS: ELSEWHERE, ...variables(database) })
    t.equal(await service.exited, 1)
    heardNothing(t, heard())
    t.match(service.fatal, { err: { message: /does not support SSL .*sslmode=disable in DATABASE_/ } })
    t.notMatch(service.output, /hunter2/)
  })
}

for (const [program, ...args] of [
  ['kysely', 'migrate:latest'],
  ['kysely', 'migrate:list'],
  ...(existsSync(path.join(ROOT, 'seeds')) ? [['kysely', 'seed:run']] : []),
  ['node', 'dev/types.ts'],
] as [string, ...string[]][]) {
  t.test(`${[program, ...args].map((word) => path.basename(word)).join(' ')} tells it to nobody either`, async (t) => {
    const { heard, database } = await eavesdropper(t)
    // Without NODE_ENV, as a person at a shell has it.
    const failed = await shell(program, args, { NODE_OPTIONS: ELSEWHERE, DATABASE_URL: database }).then(
      (output) => t.fail(output),
      (err: { stdout: string; stderr: string }) => err.stdout + err.stderr,
    )
    heardNothing(t, heard())
    t.match(failed, /does not support SSL/)
    t.notMatch(failed, /hunter2/)
  })
}

t.test('told to be clear, it is', async (t) => {
  const { heard, database } = await eavesdropper(t)
  const DATABASE_URL = `${database}?sslmode=disable`
  new Service(t, { NODE_OPTIONS: ELSEWHERE, DATABASE_URL })
  await until(heard, (bytes) => bytes.includes('hunter2'))
  t.pass('so this test would hear the password')
})

t.test('REDISS:// in capitals is TLS', async (t) => {
  const { heard, port } = await eavesdropper(t)
  const REDIS_URL = `REDISS://:hunter2@127.0.0.1:${port}`
  await new Service(t, { DATABASE_URL: backends.database, MIGRATIONS: 'off', REDIS_URL }).url()
  const bytes = await until(heard, ({ length }) => length > 0)
  t.equal(bytes[0], TLS_HANDSHAKE)
  t.notOk(bytes.includes('hunter2'))
})

t.test('a Redis elsewhere that is spoken to in clear text is said once, unless that is meant', async (t) => {
  const { port } = await eavesdropper(t)
  const database = { DATABASE_URL: backends.database, MIGRATIONS: 'off', NODE_OPTIONS: ELSEWHERE }
  const warnings = async (REDIS_URL: string, env: NodeJS.ProcessEnv = {}) => {
    const service = new Service(t, { ...database, REDIS_URL, ...env })
    await service.url()
    service.child.kill('SIGKILL')
    await service.exited
    return service.logs.filter(({ msg }) => msg.startsWith('Redis is on another host')).map(({ level }) => level)
  }
  const redis = `redis://:hunter2@database.example:${port}`
  t.same(await warnings(redis), [40])
  t.same(await warnings(`${redis}?sslmode=disable`), [])
  t.same(await warnings(`redis://redis:${port}`), [], 'a name without a dot is a development address')
  t.same(await warnings(`redis://redis:${port}`, { NODE_ENV: 'production' }), [40], 'but not in production')
  t.same(await warnings(`redis://127.0.0.1:${port}`, { NODE_ENV: 'production' }), [])
  t.same(await warnings(`rediss://database.example:${port}`), [])
})
