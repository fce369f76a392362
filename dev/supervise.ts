/**
 * Owns one folder and the command that runs in it. When its parent goes away in any way, also by SIGKILL, the channel
 * between them closes, and this program ends the command and removes the folder if it is a temporary one.
 *
 * Run by `openFolder()` as `supervise.ts temporary <prefix>` or `supervise.ts directory <folder>`, in a session of its
 * own: Ctrl-C in the terminal does not reach it, so that the service can drain while its servers still run.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFolder } from './lock.ts'
import { processesOf, signalAll } from './processes.ts'

export interface Command {
  argv: string[]
  /** Added to PATH and TMPDIR. */
  env?: NodeJS.ProcessEnv
  /** The home folder by default. */
  cwd?: string
  /** `server.log` in the home folder, written anew by each command; or what the supervisor was given as stdout. */
  output?: 'log' | 'stdout'
  /** What ends it when its parent is gone. */
  stopSignal: NodeJS.Signals
  /** Stands in the command line of every process of the server. */
  mark?: string
  /** It is killed when it has not ended this long after a signal to stop; 5000 by default. */
  stopTimeoutMs?: number
  /** A file that is removed when the supervisor ends. */
  remove?: string
}

export type Request = { run: Command } | { stop: NodeJS.Signals }
export type Report = { home: string } | { inUse: true } | { started: number } | { exited: string }

const [kind, place = ''] = process.argv.slice(2)
const temporary = kind === 'temporary'
let command: Command | undefined
let server: ChildProcess | undefined
let ended: Promise<void> | undefined

for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('SIGTERM', end)
process.on('disconnect', end)
process.on('message', (request: Request) => {
  if ('run' in request) run(request.run)
  else void stop(request.stop)
})

const home = temporary ? mkdtempSync(join(tmpdir(), place)) : resolve(place)
mkdirSync(home, { recursive: true, mode: 0o700 })
if (!temporary && !lockFolder(home)) {
  process.send?.({ inUse: true } satisfies Report, () => process.exit())
} else {
  report({ home })
}

function run(next: Command): void {
  command = next
  const output = next.output === 'stdout' ? process.stdout.fd : openSync(join(home, 'server.log'), 'w', 0o600)
  const child = spawn(next.argv[0] ?? '', next.argv.slice(1), {
    cwd: next.cwd ?? home,
    env: { ...process.env, ...next.env },
    stdio: ['ignore', output, output],
    // Its own process group, in which its children can be killed with it.
    detached: true,
  })
  if (next.output !== 'stdout') closeSync(output)
  server = child
  const exit = Promise.withResolvers<void>()
  ended = exit.promise
  child.on('spawn', () => report({ started: child.pid ?? 0 }))
  child.on('error', ({ message }) => finish(message))
  child.on('exit', (code, signal) => finish(signal ?? String(code)))

  async function finish(reason: string): Promise<void> {
    await killRest(child.pid)
    server = undefined
    report({ exited: reason })
    exit.resolve()
  }
}

async function stop(signal: NodeJS.Signals): Promise<void> {
  if (!server?.pid) return
  // A stopped process acts on no signal but SIGKILL until it is continued.
  server.kill(signal)
  signalAll([server.pid, ...marked()], 'SIGCONT')
  const killer = setTimeout(() => server?.kill('SIGKILL'), command?.stopTimeoutMs ?? 5000)
  await ended
  clearTimeout(killer)
}

/** A killed PostgreSQL leaves its backends behind: they would hold the data directory against the next start. */
async function killRest(group: number | undefined): Promise<void> {
  if (group) signalAll([-group], 'SIGKILL')
  for (let rest = marked(); rest.length > 0; rest = marked()) {
    signalAll(rest, 'SIGKILL')
    await sleep(10)
  }
}

function marked(): number[] {
  return command?.mark ? processesOf(command.mark) : []
}

async function end(): Promise<void> {
  await stop(command?.stopSignal ?? 'SIGTERM')
  if (command?.remove) rmSync(command.remove, { force: true })
  if (temporary) rmSync(home, { recursive: true, force: true, maxRetries: 5 })
  process.exit()
}

function report(message: Report): void {
  if (process.connected) process.send?.(message)
}
