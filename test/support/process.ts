import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import {
  CHECKS,
  ENV,
  type LogLine,
  ROOT,
  required,
  SKELETON_READINESS,
  START_TASKS,
  unmeasured,
  within,
} from './helper.ts'

interface ServiceOptions {
  source?: string
  wrapper?: string[]
  command?: string[]
  whole?: boolean
}

/** The service as a process. Killed at the end of the test if it still runs. */
export class Service {
  readonly child: ChildProcess
  readonly logs: LogLine[] = []
  output = ''
  readonly #exited: Promise<number | null>
  #waiting: (() => void)[] = []

  /**
   * The build, as it ships: it starts in a third of the time. `source`: the folder of the project, whose source runs and
   * counts for coverage, or of a copy. `wrapper`: a command that runs the service in surroundings of its own.
   * `command`: another command that runs it, such as `npm start`. `whole`: with the service's own health checks and start
   * tasks, whose backends and jobs the skeleton's tests do not know. TEST_SERVICE: another program in place of either.
   */
  constructor(t: Test, { NODE_OPTIONS = '', ...env }: NodeJS.ProcessEnv, options: ServiceOptions = {}) {
    const { source, wrapper = [], command, whole = false } = options
    const nodeOptions = whole ? NODE_OPTIONS : `${SKELETON_ONLY} ${NODE_OPTIONS}`
    const build = path.join(required('TEST_BUILD'), 'src/server.js')
    const main = process.env['TEST_SERVICE'] ?? (source ? 'src/server.ts' : build)
    const measured = source === ROOT && main === 'src/server.ts' && !command
    const hooks = measured ? [] : unmeasured(nodeOptions)
    const [program, ...args] = [...wrapper, ...hooks, ...(command ?? [process.execPath, main])]
    this.child = spawn(program as string, args, {
      cwd: source ?? ROOT,
      env: {
        PATH: process.env['PATH'],
        ...ENV,
        ...(!whole && SKELETON_READINESS),
        ...env,
        NODE_OPTIONS: nodeOptions,
      },
      stdio: 'pipe',
    })
    this.#exited = once(this.child, 'close').then(([code]) => code)
    let rest = ''
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.output += chunk
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() as string
      this.logs.push(...lines.map((line) => JSON.parse(line)))
      for (const wake of this.#waiting.splice(0)) wake()
    })
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.output += chunk
    })
    t.teardown(() => this.child.kill('SIGKILL'))
  }

  /** Its exit code, null if a signal ended it; waits for it. */
  get exited(): Promise<number | null> {
    return within(this.#exited, () => this.output)
  }

  /** The first log line with this message; waits for it. Rejects when the process ends without. */
  async logged(msg: string): Promise<LogLine> {
    for (;;) {
      const line = this.logs.find((entry) => entry.msg.startsWith(msg))
      if (line) return line
      const next = new Promise<void>((resolve) => this.#waiting.push(resolve))
      const ended = this.#exited.then((code) => {
        throw new Error(`exited with ${code} before it logged "${msg}":\n${this.output}`)
      })
      await within(Promise.race([next, ended]), () => this.output)
    }
  }

  /** What it said when it gave up. */
  get fatal(): LogLine | undefined {
    return this.logs.find(({ level }) => level === 60)
  }

  /** Its address, once it listens. */
  async url(): Promise<string> {
    const { msg } = await this.logged('Server listening at ')
    return msg.slice('Server listening at '.length)
  }
}

const NAMESPACE = ['--pid', '--fork', '--kill-child', '--mount-proc']
/** Wrappers in which the service is process 1, as root and as a user. */
const AS_PROCESS_1 = [
  ['unshare', ...NAMESPACE],
  ['unshare', '--user', '--map-root-user', ...NAMESPACE],
]
/** The one of them that works here, if one does. */
export const asProcess1 = AS_PROCESS_1.find(([program, ...args]) => {
  return spawnSync(program as string, [...args, 'true']).status === 0
})

/** The process 1 of a service that runs so, as the system numbers it; NaN until it is there. */
export function process1({ child: { pid } }: Service): number {
  return Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), 10)
}

/** `NODE_OPTIONS` for a `Service` that runs this module before its own. */
export function preload(source: string): string {
  return `--import=data:text/javascript,${encodeURIComponent(source)}`
}

/** Leaves out what is the service's own. Fastify tells of each instance that it makes: the metrics port's has none. */
const SKELETON_ONLY = preload(`
  import { subscribe } from 'node:diagnostics_channel'
  subscribe('fastify.initialization', ({ fastify }) => fastify.addHook('onReady', async () => {
    if (!fastify.health) return
    const { checks } = fastify.health
    const { runs, tasks } = fastify.lifecycle
    for (const name of checks.keys()) if (!${JSON.stringify(CHECKS)}.includes(name)) checks.delete(name)
    for (const map of [runs, tasks])
      for (const name of map.keys()) if (!${JSON.stringify(START_TASKS)}.includes(name)) map.delete(name)
  }))`)
