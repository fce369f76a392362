import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { type Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../dev/ports.ts'
import manifest from '../package.json' with { type: 'json' }

const ROOT = path.join(import.meta.dirname, '..')
const START_TIMEOUT_MS = 120_000
const STOP_TIMEOUT_MS = 20_000
const MEMORY_SAMPLE_MS = 50

/** A program to measure. */
export interface Subject {
  name: string
  argv: string[]
  /** 200 there: ready. */
  ready: string
  env?: NodeJS.ProcessEnv
}

export const peer = (name: string, file: string, ready = '/health'): Subject => ({
  name,
  argv: [process.execPath, path.join(import.meta.dirname, 'peers', file)],
  ready,
})

/** This service as `npm start` runs it, without npm. */
export const THIS: Subject = {
  name: 'this service',
  argv: ['sh', '-c', manifest.scripts.start],
  ready: '/health/ready',
}
/** This service from its sources, with the routes of app.ts. */
export const ROUTES: Subject = {
  name: 'routes',
  argv: [process.execPath, path.join(import.meta.dirname, 'app.ts')],
  ready: '/health/ready',
}
export const BARE = peer('bare', 'bare.mjs')
export const NAIVE = peer('naive', 'naive.mjs')
export const PEERS = [
  peer('@nestjs/terminus', 'nestjs.mjs'),
  peer('@godaddy/terminus', 'godaddy.mjs'),
  peer('lightship', 'lightship.mjs', '/ready'),
]

const logs = mkdtempSync(path.join(tmpdir(), 'bench-'))
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(logs, { recursive: true, force: true })
})

export interface StartOptions {
  databaseUrl: string
  redisUrl: string
  env?: NodeJS.ProcessEnv
  /** Between two looks whether it is ready. */
  pollMs?: number
}

/** A running subject. */
export class Run {
  readonly #child: ChildProcess
  readonly #log: string
  readonly #ready: string
  readonly port: number
  readonly #started = performance.now()
  readonly #exited: Promise<unknown>
  /** From the start of the process to the first 200 of its readiness. */
  readyMs = Number.NaN

  private constructor(subject: Subject, port: number, { databaseUrl, redisUrl, env }: StartOptions) {
    this.port = port
    this.#ready = subject.ready
    this.#log = path.join(logs, `${subject.name.replaceAll(/\W/g, '-')}-${port}.log`)
    const output = openSync(this.#log, 'w')
    const [command = '', ...args] = subject.argv
    this.#child = spawn(command, args, {
      cwd: ROOT,
      // Nothing else: what is set in this shell must not change what is measured.
      env: {
        PATH: process.env['PATH'],
        NODE_ENV: 'production',
        PORT: String(port),
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl,
        SHUTDOWN_DELAY_MS: '0',
        ...subject.env,
        ...env,
      },
      stdio: ['ignore', output, output],
    })
    closeSync(output)
    running.add(this.#child)
    this.#exited = once(this.#child, 'exit').finally(() => running.delete(this.#child))
    this.#exited.catch(() => {})
  }

  /** Starts it; resolves when it is ready. Throws with the end of its log when it never is. */
  static async start(subject: Subject, options: StartOptions): Promise<Run> {
    const run = new Run(subject, await freePort(), options)
    try {
      await run.#untilReady(options.pollMs ?? 2)
    } catch (err) {
      await run.kill()
      throw err
    }
    return run
  }

  url(route: string): string {
    return `http://127.0.0.1:${this.port}${route}`
  }

  /** What it wrote. */
  get output(): string {
    return readFileSync(this.#log, 'utf8')
  }

  /** Resident memory in MB. */
  memory(): number {
    const { pid } = this.#child
    if (existsSync('/proc/self/status')) {
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
    }
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024
  }

  /** Processor time that it has used, in milliseconds; NaN where the system has no /proc. */
  processorMs(): number {
    if (!existsSync('/proc/self/stat')) return Number.NaN
    const [, fields = ''] = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')
    const [user, system] = fields.split(' ').slice(11, 13)
    return (Number(user) + Number(system)) * 10
  }

  /** The most memory that it had while `work` went on, in MB. */
  async peakMemory(work: Promise<unknown>): Promise<number> {
    let peak = 0
    let over = false
    void work
      .catch(() => {})
      .finally(() => {
        over = true
      })
    while (!over) {
      peak = Math.max(peak, this.memory())
      await sleep(MEMORY_SAMPLE_MS)
    }
    return peak
  }

  /** Sends SIGTERM; milliseconds until it is gone. */
  async stop(): Promise<number> {
    const from = performance.now()
    this.#child.kill('SIGTERM')
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.#exited
    clearTimeout(killer)
    rmSync(this.#log)
    return performance.now() - from
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited.catch(() => {})
  }

  async #untilReady(pollMs: number): Promise<void> {
    const url = this.url(this.#ready)
    while ((await statusOf(url)) !== 200) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`ended before it was ready: ${this.#lastLine()}`)
      }
      if (performance.now() - this.#started > START_TIMEOUT_MS) {
        throw new Error(`not ready in ${START_TIMEOUT_MS} ms: ${this.#lastLine()}`)
      }
      await sleep(pollMs)
    }
    this.readyMs = performance.now() - this.#started
  }

  /** The error that ended it, or what it said last. */
  #lastLine(): string {
    const lines = this.output.trim().split('\n')
    const line = lines.findLast((line) => /^\s*(\w*Error\b.*:|\{"level":60)/.test(line)) ?? lines.at(-1) ?? ''
    return line.trim().replaceAll(`${ROOT}/`, '').slice(0, 200)
  }
}

/** The status of one answer, over a connection of its own unless an agent is given; undefined where nobody listens. */
export function statusOf(url: string, agent: Agent | false = false): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>()
  get(url, { agent }, (response) => {
    response.resume().on('end', () => resolve(response.statusCode))
  }).on('error', () => resolve(undefined))
  return promise
}
