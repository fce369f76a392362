import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { freePort } from '../../dev/ports.ts'
import { ROOT, sharedDatabase, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { ask, ROUTES } from '../support/tools.ts'

// Most of what these tests do is wait.
t.jobs = 3

/** The service behind a shell that takes its log elsewhere: `"$@"` is the service. */
async function start(t: Test, script: string, options: { source?: string } = {}) {
  const PORT = String(await freePort())
  const env = { ...ROUTES, DATABASE_URL: await sharedDatabase(), PORT }
  const service = new Service(t, env, { ...options, wrapper: ['sh', '-c', script, 'sh'] })
  const url = `http://127.0.0.1:${PORT}`
  const ready = () => ask(`${url}/health/ready`)
  await until(ready, ({ status }) => status === 200)
  return { service, url }
}

async function serves(t: Test, url: string) {
  for (const route of ['/log/20', '/health/live', '/health', '/sleep?ms=1', '/log/20']) {
    t.equal((await ask(url + route)).status, 200, route)
  }
}

/** It serves, and leaves when it is told to. */
async function servesAndLeaves(t: Test, { service, url }: { service: Service; url: string }) {
  await serves(t, url)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
}

/** Whether this command can be run here. */
const can = (program: string, ...args: string[]) => spawnSync(program, args).status === 0

const said = ({ output }: Service) => output.match(/cannot write the log: .*/g)

const noMount = !can('unshare', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt') && 'no right to mount a disk'

t.test('a log on a full disk: the service serves, says so once, and goes on', { skip: noMount }, async (t) => {
  const disk = t.testdir({})
  const mount = `mount -t tmpfs -o size=256k tmpfs ${disk}`
  const running = await start(t, `exec unshare --mount sh -c '${mount} && exec "$@" >> ${disk}/log' sh "$@"`)
  const { service, url } = running
  const inside = (file: string) => `/proc/${service.child.pid}/root${disk}/${file}`
  const fill = () => t.throws(() => writeFileSync(inside('filler'), Buffer.alloc(1024 * 1024)), { code: 'ENOSPC' })
  fill()
  await until(
    () => ask(`${url}/log/10`).then(() => said(service)),
    (lines) => lines !== null,
  )
  await serves(t, url)

  const lines = () => readFileSync(inside('log'), 'utf8').split('\n').slice(0, -1)
  rmSync(inside('filler'))
  await ask(`${url}/log/3`)
  await until(lines, (lines) => lines.at(-1)?.includes('/log/') === true)
  const logged = lines().map((line) => JSON.parse(line).line)
  t.same(logged.slice(-4), [0, 1, 2, undefined])
  t.ok(logged.filter((line) => line === 19).length === 2, 'what was written meanwhile is there too')

  fill()
  await servesAndLeaves(t, running)
  t.equal(said(service)?.length, 1)
  t.match(said(service)?.[0], /ENOSPC/)
})

t.test('a log that can never be written', async (t) => {
  for (const [script, options] of [
    ['exec "$@" > /dev/full', {}],
    ['exec "$@" > /dev/full 2> /dev/full', { source: ROOT }],
  ] as const) {
    const running = await start(t, script, options)
    await servesAndLeaves(t, running)
    t.equal(said(running.service)?.length ?? 0, 'source' in options ? 0 : 1)
  }
})

t.test('a reader of the log that is gone', async (t) => {
  const running = await start(t, 'exec "$@"')
  running.service.child.stdout?.destroy()
  await servesAndLeaves(t, running)
  t.match(said(running.service), [/EPIPE/])
})

const noTerminal = !can('script', '--version') && 'no script(1)'

t.test('a terminal that is stopped, and then closed', { skip: noTerminal }, async (t) => {
  const file = `${t.testdir({})}/pid`
  // In a session of its own, to which the terminal sends no SIGHUP. The last two words are Node and the service.
  const inside = `setsid sh -c 'echo \\$\\$ > ${file}; exec $program $main'`
  const { service, url } = await start(
    t,
    `for word; do program=$main; main=$word; done; exec script -qc "${inside}" /dev/null > /dev/null`,
  )
  const pid = Number(readFileSync(file, 'utf8'))
  t.teardown(() => can('kill', '-9', String(pid)))
  service.child.kill('SIGSTOP')
  t.equal((await ask(`${url}/log/100`)).status, 200)
  await serves(t, url)
  service.child.kill('SIGKILL')
  await service.exited
  await serves(t, url)
  process.kill(pid, 'SIGTERM')
  await until(
    () => ask(url),
    ({ status }) => status === 0,
  )
})

t.test('a reader of the log that does not read', async (t) => {
  const { service, url } = await start(t, 'exec "$@"')
  const { child } = service
  child.stdout?.pause()
  await until(
    () => ask(`${url}/log/5000`).then(() => said(service)),
    (lines) => lines !== null,
  )
  t.match(said(service), [/nobody reads it/])
  t.equal((await ask(`${url}/health/live`)).status, 200)
  child.stdout?.resume()
  await until(
    async () => {
      await ask(`${url}/log/1`)
      return service.logs.at(-2)
    },
    (line) => line?.['line'] === 0,
  )
  child.stdout?.pause()
  await ask(`${url}/log/5000`)
  child.kill('SIGTERM')
  t.equal(await new Promise((resolve) => child.once('exit', resolve)), 0, 'it does not wait for ever')
})

t.test('a reader of the log that is slow gets every line, however the process exits', async (t) => {
  for (const [leave, code, last] of [
    [({ child }: Service) => child.kill('SIGTERM'), 0, 'leaving'],
    [({ child }: Service, url: string) => ask(`${url}/crash`).then(() => child), 1, 'uncaught error'],
  ] as const) {
    const { service, url } = await start(t, 'exec "$@"')
    service.child.stdout?.pause()
    await ask(`${url}/log/300`)
    await leave(service, url)
    service.child.stdout?.resume()
    t.equal(await service.exited, code)
    t.equal(service.logs.filter(({ msg }) => msg === 'long').length, 300)
    t.equal(service.logs.at(-1)?.msg, last)
  }
})
