/**
 * Owns one folder and the command that runs in it. When its parent goes away in any way, also by SIGKILL, the channel
 * between them closes, and this program ends the command and removes the folder if it is a temporary one.
 *
 * Run by `openFolder()` as `supervise.ts temporary <prefix>` or `supervise.ts directory <folder>`, in a session of its
 * own: Ctrl-C in the terminal does not reach it, so that the service can drain while its servers still run.
 *
 * When it was killed too, nobody was left to end the command. The next supervisor of the folder does, before it starts
 * another one: two PostgreSQLs or Redis on one folder would destroy its data.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFolder } from './lock.ts'
import { marksOf, processesOf, signalAll } from './processes.ts'

export interface Command {
  /** The folder's mark must stand in the command line of each process, or in its `argv0`. */
  argv: string[]
  /** What the program is told to be called, instead of the first of `argv`. */
  argv0?: string
  /** Added to PATH and TMPDIR. */
  env?: NodeJS.ProcessEnv
  /** The home folder by default. */
  cwd?: string
  /** `server.log` in the home folder, written anew by each command; or what the supervisor was given as stdout. */
  output?: 'log' | 'stdout'
  /** What ends it when its parent is gone. */
  stopSignal: NodeJS.Signals
  /** It is killed when it has not ended this long after a signal to stop; 5000 by default. */
  stopTimeoutMs?: number
  /** A file that is removed when the supervisor ends. */
  remove?: string
}

export type Request = { run: Command } | { stop: NodeJS.Signals }
export type Report =
  | { home: string; mark: string }
  | { inUse: true }
  | { failed: string }
  | { started: number }
  | { exited: string }

const STOP_TIMEOUT_MS = 5000
/** How much longer a command may take to stop once the next run waits for its folder: less than that waits for the lock. */
const HURRY_MS = 1000
const READ_AND_WRITE = constants.R_OK | constants.W_OK | constants.X_OK

const [kind, place = ''] = process.argv.slice(2)
const temporary = kind === 'temporary'
let command: Command | undefined
let server: ChildProcess | undefined
let ended: Promise<void> | undefined
let home = resolve(place)
let marks: string[] = []

for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('SIGTERM', end)
process.on('disconnect', end)
// The next supervisor of the folder asks for it.
process.on('SIGCONT', hurry)
process.on('message', (request: Request) => {
  if ('stop' in request) return void stop(request.stop)
  try {
    run(request.run)
  } catch (error) {
    report({ exited: (error as Error).message }) // its log cannot be opened
  }
})

try {
  if (await open()) report({ home, mark: `managed-${marks.join('-')}` })
  else leave({ inUse: true })
} catch (error) {
  leave({ failed: (error as Error).message })
}

/** False when another process uses the folder. */
async function open(): Promise<boolean> {
  if (temporary) home = mkdtempSync(join(tmpdir(), place))
  mkdirSync(home, { recursive: true, mode: 0o700 })
  accessSync(home, READ_AND_WRITE)
  marks = marksOf(home)
  if (temporary) return true
  // A supervisor whose parent is gone holds the lock until its command has stopped, which that may take long for, or has
  // not noticed it, because it was stopped itself (SIGSTOP).
  signalAll(processesOf(`${import.meta.filename} ${kind} ${place}`), 'SIGCONT')
  if (!lockFolder(home)) return false
  await endFormer()
  return true
}

/** Ends what a run left whose supervisor was killed. */
async function endFormer(): Promise<void> {
  const former = marked()
  if (former.length === 0) return
  // To all of them, because the first may be dead. On SIGTERM each process of PostgreSQL, Redis and the service writes
  // what it holds and ends; a stopped one does once it is continued.
  const groups = former.map((pid) => -pid) // initdb's children have no mark
  for (const signal of ['SIGTERM', 'SIGCONT'] as const) signalAll([...groups, ...former], signal)
  const deadline = Date.now() + STOP_TIMEOUT_MS
  while (marked().length > 0 && Date.now() < deadline) await sleep(10)
  await killRest()
  process.stderr.write(`ended what a former run left running in ${home}\n`)
}

function run(next: Command): void {
  command = next
  const output = next.output === 'stdout' ? process.stdout.fd : openSync(join(home, 'server.log'), 'w', 0o600)
  const child = spawn(next.argv[0] ?? '', next.argv.slice(1), {
    argv0: next.argv0,
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
  const killer = setTimeout(() => server?.kill('SIGKILL'), command?.stopTimeoutMs ?? STOP_TIMEOUT_MS)
  await ended
  clearTimeout(killer)
}

/** Kills a command that still stops after its parent is gone. */
async function hurry(): Promise<void> {
  await sleep(HURRY_MS)
  if (!process.connected) server?.kill('SIGKILL')
}

/** A killed PostgreSQL leaves its backends behind: they would hold the data directory against the next start. */
async function killRest(group?: number): Promise<void> {
  if (group) signalAll([-group], 'SIGKILL')
  for (let rest = marked(); rest.length > 0; rest = marked()) {
    signalAll(rest, 'SIGKILL')
    await sleep(10)
  }
}

function marked(): number[] {
  return processesOf(...marks)
}

async function end(): Promise<void> {
  await stop(command?.stopSignal ?? 'SIGTERM')
  if (command?.remove) rmSync(command.remove, { force: true })
  if (temporary) rmSync(home, { recursive: true, force: true, maxRetries: 5 })
  process.exit()
}

function leave(message: Report): void {
  if (process.connected) process.send?.(message, () => process.exit())
  else process.exit()
}

function report(message: Report): void {
  if (process.connected) process.send?.(message)
}
