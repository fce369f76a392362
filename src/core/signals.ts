import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { deadline } from './deadline.ts'

/** The signals to leave at. */
const SIGNALS = ['SIGTERM', 'SIGINT'] as const
/** One Ctrl-C reaches npm and the service, and npm passes it on: within this time the same signal is the same one. */
const SAME_SIGNAL_MS = 1_000
/** An agent has this long to send what it still holds. */
const LAST_WORDS_MS = 2_000

interface Leaving {
  /** Finishes what is open. `signal` is undefined after an error that nobody caught. */
  leave(signal?: NodeJS.Signals): Promise<void>
  /** Logs an error that nobody caught. */
  report(err: Error): void
  /** The process ends now: a second signal has come. */
  abandon(signal: NodeJS.Signals): void
}

/**
 * Has SIGTERM, SIGINT and an error that nobody caught call `leave`, once, and ends the process when that is done: with 1
 * after an error, else with 0. A signal after the first one, and an error after the first one, end it at once, with 1.
 *
 * An agent that was loaded first (OpenTelemetry's, Datadog's) hears of the signal after that. At once it would shut itself
 * down, and tell nothing of the requests that are still answered; or exit, as the SIGTERM listener of OpenTelemetry's own
 * guide does.
 *
 * Nothing listens to the signals of an abort (SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE): process 1 of a
 * container would not die of them, and use a core for ever.
 */
export function takeSignals({ leave, report, abandon }: Leaving): void {
  let leaving = false
  let failed = false
  let taken: NodeJS.Signals | 'an old one' | undefined

  function fail(err: Error): void {
    report(err)
    if (failed) process.exit(1)
    failed = true
  }

  async function end(signal?: NodeJS.Signals): Promise<void> {
    if (leaving) return
    leaving = true
    await leave(signal).catch(fail)
    process.exitCode = failed ? 1 : 0
    tellAgents(signal)
  }

  /** Agents send what they hold when a process ends by itself, of which process.exit() tells them too late. */
  function tellAgents(signal?: NodeJS.Signals): void {
    const listeners = agents.filter((agent) => agent.signal === signal)
    if (listeners.length + process.listenerCount('beforeExit') === 0) process.exit()
    setTimeout(() => process.exit(), LAST_WORDS_MS).unref()
    for (const { signal, listener } of listeners) {
      // Back in its place: signal-exit kills the process where it finds itself alone.
      process.on(signal, listener)
      listener(signal)
    }
    process.emit('beforeExit', Number(process.exitCode))
  }

  function take(signal: NodeJS.Signals): void {
    if (taken === signal) return
    if (taken !== undefined) {
      abandon(signal)
      process.exit(1)
    }
    taken = signal
    deadline(SAME_SIGNAL_MS, () => {
      taken = 'an old one'
    }).unref()
    void end(signal)
  }

  const early = process.pid === 1 && earlySignal()
  const agents = SIGNALS.flatMap((signal) => process.listeners(signal).map((listener) => ({ signal, listener })))
  for (const signal of SIGNALS) process.on(signal, take)
  for (const { signal, listener } of agents) process.off(signal, listener)
  if (early) take(early)

  // From start.js, whose npm is gone. It is no second signal: npm may end while the service leaves.
  process.on('orphaned', () => void end('SIGTERM'))

  // By default these end the process. Node resets what nohup sets, and a tool for reports or heap snapshots has a
  // listener of its own.
  for (const signal of ['SIGHUP', 'SIGUSR2']) process.on(signal, () => {})

  // A rejection that nobody handles arrives here too, as an error whatever it was.
  process.on('uncaughtException', (thrown: unknown) => {
    fail(Error.isError(thrown) ? thrown : new TypeError(`thrown, and no error: ${primitive(thrown)}`))
    void end()
  })
}

/**
 * What process 1 was sent while Node started. Node catches both signals before it runs any JavaScript, once, resets the
 * terminal and sends itself the same signal, which the kernel drops for process 1. What is left of it is that the signal
 * is not caught any more, where the other one still is. Only Linux tells.
 */
function earlySignal(): NodeJS.Signals | undefined {
  const low = readFileSync('/proc/self/status', 'utf8').match(/^SigCgt:\s*\w{8}(\w{8})$/m)?.[1]
  const caught = Number.parseInt(low as string, 16)
  const gone = SIGNALS.filter((signal) => (caught & (1 << (constants.signals[signal] - 1))) === 0)
  return gone.length === 1 ? gone[0] : undefined
}

/** Not the properties of an object, which can hold secrets. */
function primitive(value: unknown): string {
  return value === Object(value) ? typeof value : String(value)
}
