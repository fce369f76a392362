import { setTimeout as sleep } from 'node:timers/promises'
import type { ManagedFolder, Running } from './managed-folder.ts'
import { freePort } from './ports.ts'
import { processesOf, signalAll } from './processes.ts'
import type { Command } from './supervise.ts'

/** A database server of this process. */
export interface Server {
  readonly url: string
  readonly port: number
  /** In good order by default, at once as after a crash with 'immediate'. Killed after 5 s. */
  stop(mode?: 'immediate'): Promise<void>
  /** Starts it again after `stop()` or a crash, on the same port and data; resolves when it accepts connections. */
  start(): Promise<void>
  /** Stops every process of it (SIGSTOP): connections stay open and nothing answers. */
  pause(): void
  resume(): void
  /** Undoes `stop()` and `pause()`, whichever it was, if any. */
  restore(): Promise<void>
  /** Stops it for good; temporary data is gone when this resolves. */
  close(): Promise<void>
}

/** What distinguishes one kind of server from another. */
export interface ServerKind {
  command(port: number): Command
  url(port: number): string
  /** Throws while the server does not accept connections. */
  probe(url: string): Promise<void>
  stopSignal: NodeJS.Signals
  immediateSignal: NodeJS.Signals
  /** Called when the server ends without having been asked to. */
  onExit?: ((reason: string) => void) | undefined
}

const START_TIMEOUT_MS = 60_000
const POLL_MS = 10

/** Starts a server in `home` on a free port, and owns `home` from here on. */
export async function startServer(home: ManagedFolder, kind: ServerKind): Promise<Server> {
  let port = await freePort()
  let running: Running | undefined

  async function start(): Promise<void> {
    if (running) throw new Error('the server runs already')
    const command = kind.command(port)
    const current = await home.start(command)
    running = current
    void current.exited.then((reason) => {
      if (running !== current) return
      running = undefined
      if (ready) kind.onExit?.(reason)
    })
    let ready = false
    await untilReady(current)
    ready = true
  }

  async function untilReady(current: Running): Promise<void> {
    for (const deadline = Date.now() + START_TIMEOUT_MS; running === current; await sleep(POLL_MS)) {
      const failure = await kind.probe(kind.url(port)).catch((error: Error) => error)
      if (!failure) return
      if (Date.now() > deadline) throw new Error(`no connection in ${START_TIMEOUT_MS} ms`, { cause: failure })
    }
    throw new Error(`ended (${await current.exited}) before it accepted connections:\n${home.logTail()}`)
  }

  async function stop(mode?: 'immediate'): Promise<void> {
    const current = running
    running = undefined
    if (!current) return
    home.stop(mode === 'immediate' ? kind.immediateSignal : kind.stopSignal)
    await current.exited
  }

  function signal(name: NodeJS.Signals): void {
    if (!running) throw new Error('the server does not run')
    // The first process before the others, so that it starts no more of them.
    signalAll([running.pid], name)
    signalAll(processesOf(home.mark), name)
  }

  async function restore(): Promise<void> {
    if (running) signal('SIGCONT')
    else await start()
  }

  async function close(): Promise<void> {
    running = undefined
    await home.close()
  }

  await home.owned(async () => {
    for (let attempts = 5; ; attempts--) {
      try {
        return await start()
      } catch (error) {
        // Another process took the port in the moment between.
        if (attempts === 1 || !/address already in use/i.test((error as Error).message)) throw error
        port = await freePort()
      }
    }
  })
  return {
    url: kind.url(port),
    port,
    stop,
    start,
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    restore,
    close,
  }
}
