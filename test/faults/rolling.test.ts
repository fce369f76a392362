import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { Client } from '../support/client.ts'
import { event, sharedDatabase, until, within } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { ROUTES, SHIPPED } from '../support/tools.ts'

/** Without, the clients would take what the replicas need to boot. */
const PAUSE_MS = 10

const skip = spawnSync('haproxy', ['-v']).error ? 'haproxy is not installed' : false

t.test('a rolling restart of two replicas behind HAProxy loses no request', { skip }, async (t) => {
  const DATABASE_URL = await sharedDatabase()
  const [front, ...ports] = [await freePort(), await freePort(), await freePort()]
  const replica = async (port: number | undefined) => {
    const env = { ...SHIPPED, ...ROUTES, DATABASE_URL, PORT: String(port), SHUTDOWN_DELAY_MS: '3000' }
    const service = new Service(t, env)
    await service.logged('ready')
    return service
  }
  let replicas = await Promise.all(ports.map(replica))

  // A socket's path has a hundred characters at most: no folder of tap's.
  const directory = await mkdtemp(path.join(tmpdir(), 'haproxy-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const socket = path.join(directory, 'haproxy.sock')
  const config = path.join(t.testdir({ 'haproxy.cfg': haproxy(socket, front, ports) }), 'haproxy.cfg')
  execFileSync('haproxy', ['-c', '-f', config])
  const balancer = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' })
  await event(balancer, 'spawn')
  t.teardown(() => balancer.kill('SIGKILL'))
  const up = (index: number) =>
    until(
      () => states(socket).catch(() => ''),
      (csv) => csv.split('\n').some((line) => line.startsWith(`service,replica${index},`) && line.includes(',UP,')),
    )
  await Promise.all(replicas.map((_, index) => up(index)))

  const clients = Array.from({ length: 16 }, () => new Client(`http://127.0.0.1:${front}/sleep?ms=1`, PAUSE_MS))
  const running = Promise.all(clients.map((client) => client.run()))
  const answered = () => clients.reduce((sum, client) => sum + client.answered, 0)
  for (const index of replicas.keys()) {
    const before = answered()
    await until(
      async () => answered(),
      (count) => count > before + 500,
    )
    replicas[index]?.child.kill('SIGTERM')
    t.equal(await replicas[index]?.exited, 0)
    replicas = replicas.with(index, await replica(ports[index]))
    await up(index)
  }
  for (const client of clients) client.stop()
  await within(running, answered)
  t.same(
    clients.flatMap(({ lost }) => lost),
    [],
    `none of ${answered()} requests`,
  )
})

function haproxy(socket: string, front: number | undefined, ports: number[]): string {
  return `
global
  stats socket ${socket}
defaults
  mode http
  timeout connect 10s
  timeout check 10s
  timeout client 30s
  timeout server 30s
  option redispatch
  retries 3
frontend front
  bind 127.0.0.1:${front}
  default_backend service
backend service
  option httpchk GET /health/ready
  http-check expect status 200
${ports.map((port, index) => `  server replica${index} 127.0.0.1:${port} check inter 200 fall 1 rise 1\n`).join('')}`
}

async function states(socket: string): Promise<string> {
  const connection = createConnection(socket)
  connection.write('show stat\n')
  return text(connection)
}
