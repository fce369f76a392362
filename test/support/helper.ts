import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import inspector from 'node:inspector'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { inspect, promisify } from 'node:util'
import pg from 'pg'
import file, { type Test } from 'tap'
import { parsers } from '../../src/database/parsers.ts'
import { OWN } from '../env.ts'

export const ROOT = path.join(import.meta.dirname, '../..')

export interface LogLine {
  level: number
  msg: string
  [key: string]: unknown
}

export function required(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run the tests with npm test`)
  return value
}

/** The shared servers' own addresses. */
export const backends = { database: required('TEST_DATABASE_URL'), redis: required('TEST_REDIS_URL') }

/** Settings of the service that make the tests fast and say nothing of the machine. */
export const ENV = {
  ...OWN,
  NODE_ENV: 'test',
  PORT: '0',
  HEALTH_CACHE_MS: '0',
  HEALTH_DETAILS: 'true',
  REDIS_URL: backends.redis,
}

/** Runs SQL on a connection of its own. */
export async function query<T extends pg.QueryResultRow>(url: string, sql: string): Promise<T[]> {
  const client = new pg.Client({
    connectionString: url,
    types: parsers,
    connectionTimeoutMillis: PATIENCE_MS,
    query_timeout: PATIENCE_MS,
  })
  client.on('error', () => {})
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
export async function database(
  t: Test,
  { empty = false, name = `test_${randomUUID().slice(0, 8)}` } = {},
): Promise<string> {
  // As files: over the write-ahead log, the default, takes twice the time.
  const template = `${empty ? '' : ` template ${required('TEST_DATABASE_TEMPLATE')}`} strategy file_copy`
  await query(backends.database, `create database "${name}"${template}`)
  // No role may end an autovacuum worker that is in it: that leaves by itself.
  const drop = () => query(backends.database, `drop database if exists "${name}" with (force)`)
  t.teardown(() =>
    until(
      () => drop().then(() => 'dropped', String),
      (outcome) => outcome === 'dropped',
    ),
  )
  const url = new URL(backends.database)
  url.pathname = `/${name}`
  return url.href
}

/** A copy of the project that the test may change. `files` are added to it: contents by path. */
export async function copyProject(t: Test, files: Record<string, string> = {}): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'copy-'))
  t.teardown(() => rm(directory, { recursive: true }))
  for (const name of ['src', 'dev', 'migrations', 'seeds', 'kysely.config.ts', 'package.json', 'tsconfig.json']) {
    // There need not be seeds.
    const from = path.join(ROOT, name)
    if (existsSync(from)) await cp(from, path.join(directory, name), { recursive: true })
  }
  await symlink(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'))
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(directory, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, content)
  }
  return directory
}

/** The health checks of the skeleton. */
export const CHECKS = ['database', 'redis']
/** Its start tasks. A service's own can begin a job, which takes connections of the pool and writes into the log. */
export const START_TASKS = ['database', 'migrations', 'tenants']
/** Readiness of a service without checks of its own, whatever test/env.ts says of those. */
export const SKELETON_READINESS = { READINESS_REQUIRES: 'database' }

/** A folder with the project's migrations, or with `those` of them, and some of the test's own: contents by file name. */
export function migrationsFolder(t: Test, files: Record<string, string>, those = /^/): string {
  const folder = path.join(ROOT, 'migrations')
  // Not copies: what they import lies where they lie.
  const names = readdirSync(folder).filter((name) => those.test(name))
  const own = names.map((name) => [name, `export * from '${pathToFileURL(path.join(folder, name))}'\n`])
  return t.testdir({ ...Object.fromEntries(own), ...files })
}

/** The names of the project's migrations, in their order. */
export const MIGRATIONS = readdirSync(path.join(ROOT, 'migrations'))
  .map((file) => path.parse(file).name)
  .sort()

/** How a command starts that runs without tap's hooks: tsc cannot be loaded with them, and the rest is slow. */
export function unmeasured(nodeOptions = ''): string[] {
  return ['env', `NODE_OPTIONS=${nodeOptions}`, `NODE_COMPILE_CACHE=${required('TEST_BUILD')}/cache`]
}

/** Runs a program, such as one of node_modules, to its end. Rejects with its output when it fails. */
export async function run(
  program: string,
  args: string[],
  {
    cwd = ROOT,
    env = process.env,
    nodeOptions = '',
  }: { cwd?: string; env?: NodeJS.ProcessEnv; nodeOptions?: string } = {},
): Promise<{ stdout: string; stderr: string }> {
  const PATH = `${path.join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`
  const [command, ...rest] = [...unmeasured(nodeOptions), program, ...args]
  return promisify(execFile)(command as string, rest, { cwd, env: { ...env, PATH }, timeout: PATIENCE_MS })
}

let project: Promise<string> | undefined

/**
 * Runs a program of node_modules as a person at a shell does, in a copy of the project, which has no `.env` of this
 * machine. `NODE_OPTIONS` counts.
 */
export async function shell(program: string, args: string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<string> {
  const copy = () => (project ??= copyProject(file))
  const { stdout, stderr } = await run(program, args, {
    cwd: cwd ?? (await copy()),
    env: { CI: 'true', ...env },
    nodeOptions: env['NODE_OPTIONS'] ?? '',
  })
  return stdout + stderr
}

/**
 * No test waits longer for anything: well over what a busy machine needs, well under tap's limit for a file. Whoever debugs
 * one has a day.
 */
export const PATIENCE_MS = inspector.url() ? 24 * 60 * 60_000 : 120_000
/** What waits without a deadline, such as a call of a library, fails with its test, and not with its whole file. */
const TEST_LIMIT_MS = 2.5 * PATIENCE_MS

file.beforeEach((t) => t.setTimeout(TEST_LIMIT_MS))

/** Asks until the condition holds: for what no event tells. Fails with the last answer. */
export async function until<T>(ask: () => Promise<T> | T, holds: (answer: T) => boolean): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  let last: unknown = 'no answer'
  for (;;) {
    const answer = await within(Promise.try(ask), () => last)
    if (holds(answer)) return answer
    if (performance.now() > deadline) throw new Error(`in vain for ${PATIENCE_MS} ms; the last: ${inspect(answer)}`)
    last = answer
    await sleep(20)
  }
}

/** The same promise, which rejects, with what `last` says, when it takes too long. */
export async function within<T>(promise: Promise<T>, last: () => unknown): Promise<T> {
  const late = new AbortController()
  const timeout = sleep(PATIENCE_MS, undefined, { signal: late.signal }).then(() => {
    throw new Error(`in vain for ${PATIENCE_MS} ms; the last: ${inspect(last(), { maxStringLength: 2_000 })}`)
  })
  timeout.catch(() => {})
  return Promise.race([promise, timeout]).finally(() => late.abort())
}

/** Waits for the next event of that name, also past errors. Fails with the event's name. */
export async function event(emitter: EventEmitter, name: string): Promise<unknown[]> {
  const happened = new Promise<unknown[]>((resolve) => {
    emitter.once(name, (...args) => resolve(args))
  })
  return within(happened, () => `no "${name}"`)
}
