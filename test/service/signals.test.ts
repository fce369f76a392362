import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { backends, copyProject, ROOT, sharedDatabase, until } from '../support/helper.ts'
import { asProcess1, preload, process1, Service } from '../support/process.ts'
import { ask, ROUTES } from '../support/tools.ts'

t.jobs = 3

const NPM = ['npm', 'start', '--silent']
/** Without a build, of whatever source: npm start runs this source. */
const source = await copyProject(t, { 'start.js': await readFile(path.join(ROOT, 'start.js'), 'utf8') })
const inNamespace = { wrapper: asProcess1 as string[] }
const noNamespace = !asProcess1 && 'no process here may make a namespace of its own'
const noPty = !/util-linux/.test(String(spawnSync('script', ['--version']).stdout)) && "util-linux's script is missing"

async function start(t: Test, options = {}, env: NodeJS.ProcessEnv = {}) {
  const service = new Service(t, { ...ROUTES, DATABASE_URL: await sharedDatabase(), ...env }, options)
  const url = await service.url()
  await service.logged('ready')
  return { service, url }
}

/** It is told to leave, answers what is in flight, and is gone. */
async function leaves(t: Test, { service, url }: { service: Service; url: string }, tell: () => void): Promise<void> {
  const slow = ask(`${url}/sleep?ms=1500`)
  await ask(`${url}/sleep?ms=0`) // behind it
  tell()
  await service.logged('leaving')
  t.equal((await slow).status, 200, 'what is in flight is answered')
  t.equal(await service.exited, 0)
  t.equal((await ask(`${url}/health/live`)).status, 0, 'nobody has the port')
}

t.test('SIGTERM to npm start', async (t) => {
  for (const shell of ['sh', 'bash']) {
    const skip = spawnSync(shell, ['-c', 'true']).status !== 0 && `${shell} is missing`
    const command = [...NPM, `--script-shell=${shell}`]
    await t.test(`with ${shell}`, { skip }, async (t) => {
      const running = await start(t, { command, source })
      await leaves(t, running, () => running.service.child.kill('SIGTERM'))
    })
    await t.test(`with ${shell}, as process 1`, { skip: skip || noNamespace }, async (t) => {
      const running = await start(t, { command, source, ...inNamespace })
      await leaves(t, running, () => process.kill(process1(running.service), 'SIGTERM'))
    })
  }
})

t.test('Ctrl-C in the terminal of npm start is one signal, although it arrives twice', { skip: noPty }, async (t) => {
  const command = ['script', '-qefc', `stty -echo; exec ${NPM.join(' ')}`, '/dev/null']
  const running = await start(t, { command, source })
  await leaves(t, running, () => running.service.child.stdin?.write('\u0003'))
})

t.test('npm is killed: the service leaves', async (t) => {
  const { service } = await start(t, { command: NPM, source })
  const { pid } = await service.logged('ready')
  service.child.kill('SIGKILL')
  await service.logged('leaving')
  await until(
    () => spawnSync('kill', ['-0', String(pid)]).status,
    (status) => status !== 0,
  )
})

t.test('start.js tells that npm is gone', async (t) => {
  const told = preload(`process.on('SIGUSR2', () => process.emit('orphaned'))`)
  const running = await start(t, { source: ROOT }, { NODE_OPTIONS: `${ROUTES.NODE_OPTIONS} ${told}` })
  await leaves(t, running, () => running.service.child.kill('SIGUSR2'))
})

t.test('npm is killed while the service leaves: what is in flight is answered', async (t) => {
  const { service, url } = await start(t, { command: NPM, source }, { SHUTDOWN_DELAY_MS: '2500' })
  const slow = ask(`${url}/sleep?ms=2000`)
  await ask(`${url}/sleep?ms=0`) // behind it
  service.child.kill('SIGINT')
  await service.logged('leaving')
  await sleep(1_100) // what comes now is another signal
  service.child.kill('SIGKILL')
  t.equal((await slow).status, 200)
})

t.test('the same signal within a second is one signal', async (t) => {
  const running = await start(t)
  const { child } = running.service
  await leaves(t, running, () => {
    for (let i = 0; i < 10; i += 1) child.kill('SIGTERM')
    void running.service.logged('leaving').then(() => child.kill('SIGTERM'))
  })
})

t.test('a later one ends the service at once', async (t) => {
  const { service } = await start(t, { source: ROOT }, { SHUTDOWN_DELAY_MS: '600000' })
  const since = performance.now()
  const again = setInterval(() => service.child.kill('SIGTERM'), 50)
  t.equal(await service.exited, 1)
  clearInterval(again)
  t.ok(performance.now() - since > 1_000)
  t.match(service.logs.at(-1), { msg: 'leaving at once', signal: 'SIGTERM', requests: 0 })
})

t.test('an agent that was loaded first hears of the signal when all is answered', async (t) => {
  const agents = {
    'and sends what it holds': `
      const later = (msg) => setTimeout(() => console.log(JSON.stringify({ msg })), 200)
      process.on('SIGTERM', () => later('sent at SIGTERM'))
      process.once('beforeExit', () => later('sent before exit'))`,
    'and exits, as its guide says': `process.on('SIGTERM', () => process.exit())`,
    'and cannot send it': `process.once('beforeExit', () => setInterval(() => {}, 1_000))`,
  }
  for (const [name, agent] of Object.entries(agents)) {
    await t.test(name, async (t) => {
      const NODE_OPTIONS = `${ROUTES.NODE_OPTIONS} ${preload(agent)}`
      const running = await start(t, { source: ROOT }, { NODE_OPTIONS })
      await leaves(t, running, () => running.service.child.kill('SIGTERM'))
      const sent = running.service.logs.map(({ msg }) => msg).filter((msg) => msg.startsWith('sent'))
      t.same(sent.sort(), agent.includes('sent') ? ['sent at SIGTERM', 'sent before exit'] : [])
    })
  }
})

t.test('SIGHUP and SIGUSR2 end nothing', async (t) => {
  const running = await start(t, { source: ROOT })
  const { child } = running.service
  await leaves(t, running, () => {
    for (const signal of ['SIGHUP', 'SIGUSR2', 'SIGTERM'] as const) child.kill(signal)
  })
})

t.test('what process 1 was sent while Node started is not lost', { skip: process.platform !== 'linux' }, async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT', 'none']) {
    // As Node leaves it behind: the signal is not caught any more when src/core/signals.ts is loaded.
    const NODE_OPTIONS = preload(`
      import { registerHooks } from 'node:module'
      Object.defineProperty(process, 'pid', { value: 1 })
      registerHooks({
        load(url, context, next) {
          if (url.endsWith('/signals.ts')) process.on('${signal}', () => {}).removeAllListeners('${signal}')
          return next(url, context)
        },
      })`)
    const service = new Service(t, { NODE_OPTIONS, DATABASE_URL: backends.database }, { source: ROOT })
    if (signal === 'none') {
      await service.url()
      service.child.kill('SIGTERM')
    }
    t.equal(await service.exited, 0, signal)
  }

  await t.test('sent as soon as Node catches it', { skip: noNamespace }, async (t) => {
    const service = new Service(t, { DATABASE_URL: backends.database }, inNamespace)
    await until(
      () => readFile(`/proc/${process1(service)}/status`, 'utf8').catch(String),
      (status) => /^SigCgt:\s*\w{12}[4-7c-f]/m.test(status),
    )
    process.kill(process1(service), 'SIGTERM')
    t.equal(await service.exited, 0)
  })
})

t.test('process 1 ends', { skip: noNamespace }, async (t) => {
  for (const route of ['/abort', '/heap']) {
    await t.test(route, async (t) => {
      const NODE_OPTIONS = `${ROUTES.NODE_OPTIONS} --max-old-space-size=96`
      const { service, url } = await start(t, inNamespace, { NODE_OPTIONS })
      await ask(url + route)
      t.not(await service.exited, 0)
    })
  }

  await t.test('at SIGTERM, at once if it was never ready', async (t) => {
    const service = new Service(t, { DATABASE_URL: 'postgres://127.0.0.1:1/none' }, inNamespace)
    await service.logged('waiting for the database')
    process.kill(process1(service), 'SIGTERM')
    t.equal(await service.exited, 0)
  })
})
