import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import pg from 'pg'
import file, { type Test } from 'tap'
import service from '../src/app.ts'
import type { Config } from '../src/config.ts'
import { logger } from '../src/logger.ts'
import env from '../src/plugins/env.ts'
import { requestOptions } from '../src/plugins/requests.ts'

export const ROOT = path.join(import.meta.dirname, '..')

export interface LogLine {
  level: number
  msg: string
  [key: string]: unknown
}

function required(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run the tests with npm test`)
  return value
}

/** The shared servers' own addresses. */
export const backends = { database: required('TEST_DATABASE_URL'), redis: required('TEST_REDIS_URL') }

/** Settings that make the tests fast and say nothing of the machine. */
const ENV = {
  NODE_ENV: 'test',
  PORT: '0',
  HEALTH_CACHE_MS: '0',
  HEALTH_DETAILS: 'true',
  REDIS_URL: backends.redis,
}

/** Runs SQL on a connection of its own. */
export async function query<T extends pg.QueryResultRow>(url: string, sql: string): Promise<T[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query<T>(sql)).rows
  } finally {
    await client.end()
  }
}

let shared: Promise<string> | undefined

/** The database of this test file, with the schema of the migrations: for tests that leave nothing in it. */
export function sharedDatabase(): Promise<string> {
  shared ??= database(file)
  return shared
}

/** A database of the test's own, with the schema of the migrations unless `empty`; dropped at the end. */
export async function database(t: Test, { empty = false } = {}): Promise<string> {
  const name = `footing_test_${randomUUID().slice(0, 8)}`
  // As files: over the write-ahead log, the default, takes twice the time.
  const template = `${empty ? '' : ` template ${required('TEST_DATABASE_TEMPLATE')}`} strategy file_copy`
  await query(backends.database, `create database ${name}${template}`)
  t.teardown(() => query(backends.database, `drop database ${name} with (force)`))
  const url = new URL(backends.database)
  url.pathname = `/${name}`
  return url.href
}

/** A copy of the project that the test may change. `files` are added to it: contents by path. */
export async function copyProject(t: Test, files: Record<string, string> = {}): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'footing-copy-'))
  t.teardown(() => rm(directory, { recursive: true }))
  for (const name of ['src', 'migrations', 'seeds', 'kysely.config.ts', 'package.json', 'tsconfig.json']) {
    await cp(path.join(ROOT, name), path.join(directory, name), { recursive: true })
  }
  await symlink(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'))
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(directory, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, content)
  }
  return directory
}

/** A folder with the project's migrations and some of the test's own: contents by file name. */
export function migrationsFolder(t: Test, files: Record<string, string>): string {
  const folder = path.join(ROOT, 'migrations')
  const own = readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), 'utf8')])
  return t.testdir({ ...Object.fromEntries(own), ...files })
}

/** What the env plugin makes of these variables. */
export async function configure(t: Test, variables: NodeJS.ProcessEnv): Promise<Config> {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(env, { env: variables })
  return app.config
}

/** The names of the project's migrations, in their order. */
export const MIGRATIONS = readdirSync(path.join(ROOT, 'migrations'))
  .map((file) => path.parse(file).name)
  .sort()

export type App = FastifyInstance & { logs: LogLine[] }

/**
 * The service in this process, without the port, started. Closed at the end of the test.
 * `routes` is a plugin of the test's own, registered behind the others as a template's user would.
 */
export async function build(t: Test, variables: NodeJS.ProcessEnv = {}, routes?: FastifyPluginAsync): Promise<App> {
  const app = await unstarted(t, variables, { routes })
  await app.lifecycle.start()
  return app
}

/** The same before its start tasks. `folder`: migrations of the test's own, for a database of its own. */
export async function unstarted(
  t: Test,
  variables: NodeJS.ProcessEnv = {},
  { routes, folder }: { routes?: FastifyPluginAsync | undefined; folder?: string } = {},
): Promise<App> {
  const logs: LogLine[] = []
  const stream = { write: (line: string) => logs.push(JSON.parse(line)) }
  const app: FastifyInstance = fastify({ logger: { ...logger, stream }, ...requestOptions })
  t.teardown(() => app.close())
  await app.register(service, {
    ...(folder && { folder }),
    env: {
      ...ENV,
      LOG_LEVEL: 'debug',
      DATABASE_URL: variables['DATABASE_URL'] ?? (await (folder ? database(t) : sharedDatabase())),
      ...variables,
    },
  })
  if (routes) await app.register(routes)
  await app.ready()
  return Object.assign(app, { logs })
}

/** How a command starts that runs without tap's hooks: tsc cannot be loaded with them, and the rest is slow. */
function withoutHooks(nodeOptions = ''): string[] {
  return ['env', `NODE_OPTIONS=${nodeOptions}`]
}

/** Runs a program, such as one of node_modules, to its end. Rejects with its output when it fails. */
export async function run(
  program: string,
  args: string[],
  { cwd = ROOT, env = process.env }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ stdout: string; stderr: string }> {
  const PATH = `${path.join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`
  const [command, ...rest] = [...withoutHooks(), program, ...args]
  return promisify(execFile)(command as string, rest, { cwd, env: { ...env, PATH } })
}

/** The service as a process. Killed at the end of the test if it still runs. */
export class Service {
  readonly child: ChildProcess
  readonly logs: LogLine[] = []
  output = ''
  readonly exited: Promise<number | null>
  #waiting: (() => void)[] = []

  /**
   * The build, as it ships: it starts in a third of the time. `source`: the folder of the project, whose source runs and
   * counts for coverage, or of a copy. `wrapper`: a command that runs the service in surroundings of its own.
   * TEST_SERVICE: another program in place of either.
   */
  constructor(t: Test, env: NodeJS.ProcessEnv, { source, wrapper = [] }: { source?: string; wrapper?: string[] } = {}) {
    const dist = required('TEST_BUILD')
    const main = process.env['TEST_SERVICE'] ?? (source ? 'src/server.ts' : path.join(dist, 'src/server.js'))
    const measured = source === ROOT && main === 'src/server.ts'
    const unmeasured = measured ? [] : [...withoutHooks(env['NODE_OPTIONS']), `NODE_COMPILE_CACHE=${dist}/cache`]
    const [program, ...args] = [...wrapper, ...unmeasured, process.execPath, main]
    this.child = spawn(program as string, args, {
      cwd: source ?? ROOT,
      env: { PATH: process.env['PATH'], ...ENV, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.exited = once(this.child, 'close').then(([code]) => code)
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

  /** The first log line with this message; waits for it. Rejects when the process ends without. */
  async logged(msg: string): Promise<LogLine> {
    for (;;) {
      const line = this.logs.find((entry) => entry.msg.startsWith(msg))
      if (line) return line
      const next = new Promise<void>((resolve) => this.#waiting.push(resolve))
      const ended = this.exited.then((code) => {
        throw new Error(`exited with ${code} before it logged "${msg}":\n${this.output}`)
      })
      await Promise.race([next, ended])
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

/** `NODE_OPTIONS` for a `Service` that runs this module before its own. */
export function preload(source: string): string {
  return `--import=data:text/javascript,${encodeURIComponent(source)}`
}

/** Asks until the condition holds: for what no event tells. The suite's time limit bounds it. */
export async function until<T>(ask: () => Promise<T>, holds: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask()
    if (holds(answer)) return answer
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
