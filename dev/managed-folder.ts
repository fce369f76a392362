import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { explained } from './causes.ts'
import { processesOf, signalAll } from './processes.ts'
import type { Command, Report, Request } from './supervise.ts'

/** A running command; `exited` resolves to its exit code or the signal that ended it, once nothing of it is left. */
export interface Running {
  readonly pid: number
  readonly exited: Promise<string>
}

type Stdout = 'ignore' | 'inherit' | 'pipe'

/** Another process has servers in this folder. */
export class FolderInUseError extends Error {
  override name = 'FolderInUseError'
}

/** A folder with a supervisor (supervise.ts) that runs one command at a time in it. */
export class ManagedFolder {
  readonly folder: string
  /** Goes into the command line of each process that runs here, by which the next run finds one that was left. */
  readonly mark: string
  readonly #supervisor: ChildProcess

  constructor(folder: string, mark: string, supervisor: ChildProcess) {
    this.folder = folder
    this.mark = mark
    this.#supervisor = supervisor
  }

  /** Starts `command`, whose output goes to `server.log` in the folder. Throws when it cannot be started. */
  async start(command: Command): Promise<Running> {
    const supervisor = this.#supervisor
    const started = Promise.withResolvers<number>()
    const exited = Promise.withResolvers<string>()
    let pid = 0
    const listen = (report: Report) => {
      if ('started' in report) {
        pid = report.started
        started.resolve(pid)
      }
      if ('exited' in report) finish(report.exited)
    }
    const lost = () => {
      // The supervisor itself was killed: nobody else is left to end its server.
      signalAll([...(pid ? [-pid] : []), ...processesOf(this.mark)], 'SIGKILL')
      if (command.remove) rmSync(command.remove, { force: true })
      finish('killed together with its supervisor')
    }
    const finish = (reason: string) => {
      supervisor.off('message', listen).off('exit', lost)
      started.reject(new Error(`${command.argv[0]}: ${reason}`))
      exited.resolve(reason)
    }
    supervisor.on('message', listen).on('exit', lost)
    supervisor.send({ run: command } satisfies Request)
    return { pid: await started.promise, exited: exited.promise }
  }

  /** Runs `command` to its end; throws with the end of its output when it fails. */
  async run(command: Command): Promise<void> {
    const { exited } = await this.start(command)
    if ((await exited) !== '0') throw new Error(`${command.argv[0]} failed:\n${this.logTail()}`)
  }

  /** Does work on the folder, and closes it when that fails, for a cause that is told with its cure where it is known. */
  async owned<T>(work: () => Promise<T> | T): Promise<T> {
    try {
      return await work()
    } catch (error) {
      await this.close()
      throw explained(error as Error, this.folder)
    }
  }

  /** Has the command stopped by `signal`, or killed if it runs on; `Running.exited` tells when it is over. */
  stop(signal: NodeJS.Signals): void {
    if (this.#supervisor.connected) this.#supervisor.send({ stop: signal } satisfies Request)
  }

  /** Ends the command and the supervisor; a temporary folder is gone when this resolves. */
  async close(): Promise<void> {
    if (this.#supervisor.exitCode !== null || this.#supervisor.signalCode !== null) return
    const exited = once(this.#supervisor, 'exit')
    if (this.#supervisor.connected) this.#supervisor.disconnect()
    await exited
  }

  /** What commands with `output: 'stdout'` write, if that was asked to be a pipe. */
  get output(): Readable | null {
    return this.#supervisor.stdout
  }

  /** The last lines that the command wrote. */
  logTail(): string {
    return readFileSync(join(this.folder, 'server.log'), 'utf8').trim().split('\n').slice(-10).join('\n')
  }
}

/**
 * Opens `directory`, or without one a temporary folder (its name starts with `prefix`) that is removed when it is
 * closed or this process ends in whatever way. What a former run left running in `directory` is ended first.
 * Throws FolderInUseError, and with the cure when the folder cannot be used.
 */
export async function openFolder(
  prefix: string,
  directory?: string,
  stdout: Stdout = 'ignore',
): Promise<ManagedFolder> {
  const { PATH = '', TMPDIR = '', TEST_BUILD } = process.env
  const args = directory === undefined ? ['temporary', prefix] : ['directory', directory]
  const supervisor = fork(fileURLToPath(import.meta.resolve('./supervise.ts')), args, {
    detached: true,
    execArgv: [],
    // Nothing else: PG… variables would reach the server, and NODE_OPTIONS would make tap measure the supervisor.
    env: {
      PATH,
      ...(TMPDIR && { TMPDIR }),
      // The tests start a hundred of them.
      ...(TEST_BUILD && { NODE_COMPILE_CACHE: join(TEST_BUILD, 'cache') }),
    },
    stdio: ['ignore', stdout, 'inherit', 'ipc'],
  })
  const [report] = (await once(supervisor, 'message')) as [Report]
  if ('home' in report) return new ManagedFolder(report.home, report.mark, supervisor)
  if ('failed' in report) throw explained(new Error(report.failed), directory ?? tmpdir())
  throw new FolderInUseError(`another run uses ${directory}: stop it first`)
}
