import { readFileSync } from 'node:fs'
import { parseIntoClientConfig } from 'pg-connection-string'
import { type Static, type TSchemaOptions, Type } from 'typebox'
import { service } from './service.ts'

/** A day. Node's timers overflow above 2^31 ms, and no timeout of a service is this long. */
const DAY_MS = 86_400_000

const text = (description: string, options: TSchemaOptions = {}) =>
  Type.Optional(Type.String({ description, ...options }))
const integer = (fallback: number, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description })
/** Milliseconds. */
const duration = (fallback: number, description: string, minimum = 0) => integer(fallback, minimum, DAY_MS, description)
const choice = <T extends string>(fallback: T, values: T[], description: string) =>
  Type.Enum(values, { type: 'string', default: fallback, description })

const POSTGRES_URL = { pattern: '^postgres(ql)?://' }
/** What `READINESS_REQUIRES` can name. */
const BACKENDS = ['database', 'redis']
const HOSTS = { pattern: '^[^\\s,]+(,[^\\s,]+)*$' }

/** Every setting of the service. The type, `.env.example` and the README's table are derived from it. */
export const schema = Type.Object({
  NODE_ENV: choice('development', ['development', 'test', 'production'], 'production turns on TLS and the drain delay'),
  HOST: Type.String({ default: '127.0.0.1', description: 'address to listen on; 0.0.0.0 in a container' }),
  PORT: integer(3000, 0, 65_535, 'port to listen on; 0 takes a free one'),
  LOG_LEVEL: choice(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'least severe level logged',
  ),
  METRICS: Type.Boolean({ default: false, description: 'serve /metrics for Prometheus' }),

  DATABASE_URL: text(
    'postgres://user:password@host:5432/database; host:5432,host:5432 of which one takes writes; or the POSTGRES_ variables',
    POSTGRES_URL,
  ),
  DATABASE_URL_FILE: text('file that holds DATABASE_URL, read again for each new connection'),
  DATABASE_MIGRATION_URL: text('direct connection of the role that owns the schema; default: the same', POSTGRES_URL),
  DATABASE_MIGRATION_URL_FILE: text('file that holds DATABASE_MIGRATION_URL'),
  POSTGRES_HOST: text('database host, or host,host, in place of DATABASE_URL', HOSTS),
  POSTGRES_PORT: integer(5432, 1, 65_535, 'database port'),
  POSTGRES_USER: text('database role; default: postgres'),
  POSTGRES_PASSWORD: text('password of that role'),
  POSTGRES_PASSWORD_FILE: text('file that holds POSTGRES_PASSWORD, read again for each new connection'),
  POSTGRES_DB: text('database name; default: the name of the role'),
  POSTGRES_SSLMODE: Type.Optional(
    Type.Enum(['disable', 'verify-full'], {
      type: 'string',
      description: 'TLS to POSTGRES_HOST; default: verify-full in production unless on this host, else disable',
    }),
  ),
  DATABASE_POOL_MIN: integer(0, 0, 10_000, 'connections kept open when idle'),
  DATABASE_POOL_MAX: integer(10, 1, 10_000, 'connections at the most'),
  DATABASE_CONNECT_TIMEOUT_MS: duration(2_000, 'wait for a connection from the pool; then the request gets 503', 1),
  DATABASE_IDLE_TIMEOUT_MS: duration(30_000, 'an idle connection above the minimum is closed after; 0: never'),
  DATABASE_MAX_LIFETIME_SECONDS: integer(1_800, 0, 86_400, 'a connection is replaced after; 0: never'),
  DATABASE_STATEMENT_TIMEOUT_MS: duration(30_000, 'a statement is cancelled after; 0 sends nothing (poolers)'),
  DATABASE_QUERY_TIMEOUT_MS: duration(35_000, 'a connection that answers no query for is dropped; 0: never'),
  DATABASE_KEEP_ALIVE_MS: duration(10_000, 'idle time before TCP keep-alive probes; 0: none'),

  REDIS_URL: Type.String({
    default: 'redis://127.0.0.1:6379',
    description: 'redis://user:password@host:6379/0, rediss:// for TLS',
  }),
  REDIS_URL_FILE: text('file that holds REDIS_URL, read again for each new connection'),
  REDIS_SENTINELS: text(
    'host:26379,host:26379 of Redis Sentinel; of REDIS_URL all but host and port still counts, TLS for Sentinel too',
  ),
  REDIS_SENTINEL_NAME: text('name of the master that Sentinel watches'),
  REDIS_SENTINEL_PASSWORD: text('password of Sentinel itself, where it has one'),
  REDIS_SENTINEL_PASSWORD_FILE: text('file that holds REDIS_SENTINEL_PASSWORD, read again for each new connection'),
  REDIS_CLUSTER_NODES: text(
    'host:6379,host:6379, some nodes of a Redis Cluster; of REDIS_URL all but host, port and database still counts',
  ),
  REDIS_COMMAND_TIMEOUT_MS: duration(500, 'a command fails after', 1),
  REDIS_KEY_PREFIX: Type.String({ default: `${service.name}:`, description: 'keys of the cache start with' }),

  MIGRATIONS: choice(
    'run',
    ['run', 'check', 'off'],
    'at boot: apply; exit 1 while any is pending or unknown; ask nothing',
  ),
  MIGRATION_LOCK_TIMEOUT_MS: duration(5_000, 'DDL waits for a table lock at most', 1),

  HEALTH_TIMEOUT_MS: integer(800, 1, 900, 'deadline of each health check; probes answer in under a second'),
  HEALTH_CACHE_MS: duration(1_000, 'one answer serves every probe for'),
  HEALTH_DETAILS: Type.Boolean({ default: false, description: 'serve /health/db, which shows versions and names' }),
  READINESS_REQUIRES: Type.Unsafe<string[]>({
    type: 'string',
    separator: ',',
    default: 'database',
    description: `checks that readiness needs, of: ${BACKENDS}; empty: none`,
  }),

  API_DOCS: Type.Boolean({
    default: false,
    description: 'serve /openapi.json, and /docs where @fastify/swagger-ui is installed',
  }),

  SHUTDOWN_DELAY_MS: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: DAY_MS,
      description: 'serve on after SIGTERM for, not ready; default: 5000 in production, else 0',
    }),
  ),
  SHUTDOWN_TIMEOUT_MS: duration(10_000, 'leave with exit code 1 when closing takes longer, after the delay', 1),
})

export type Config = Static<typeof schema>

const SECRETS = [
  'DATABASE_URL',
  'DATABASE_MIGRATION_URL',
  'POSTGRES_PASSWORD',
  'REDIS_URL',
  'REDIS_SENTINEL_PASSWORD',
] as const

/** The secret's present value: from its `…_FILE`, so that a rotated one is seen, else from the environment. */
export function secret(config: Config, name: (typeof SECRETS)[number]): string | undefined {
  const file = config[`${name}_FILE`]
  return file === undefined ? config[name] : readSecret(file)
}

function readSecret(file: string): string {
  return readFileSync(file, 'utf8').trim()
}

/**
 * The variables that carry a value, with each secret read out of its `…_FILE`.
 * An empty string is no value, except where it says that readiness requires nothing.
 */
export function resolveEnv(env: NodeJS.ProcessEnv): { data: NodeJS.ProcessEnv; problems: string[] } {
  const problems: string[] = []
  const data = Object.fromEntries(
    Object.entries(env).filter(([name, value]) => value !== '' || name === 'READINESS_REQUIRES'),
  )
  if (data['READINESS_REQUIRES']) data['READINESS_REQUIRES'] = data['READINESS_REQUIRES'].replaceAll(' ', '')
  for (const name of SECRETS) {
    const file = data[`${name}_FILE`]
    if (file === undefined) continue
    if (data[name] !== undefined) problems.push(`${name} and ${name}_FILE are both set`)
    try {
      const value = readSecret(file)
      if (value === '') problems.push(`${name}_FILE names an empty file`)
      else data[name] = value
    } catch (err) {
      problems.push(`${name}_FILE cannot be read (${(err as NodeJS.ErrnoException).code})`)
    }
  }
  return { data, problems }
}

/** What is wrong with the addresses of the backends. Each problem names variables, never a value. */
export function addressProblems(data: NodeJS.ProcessEnv): string[] {
  const problems: string[] = []
  if (data['DATABASE_URL'] === undefined && data['POSTGRES_HOST'] === undefined) {
    problems.push('DATABASE_URL is missing (or POSTGRES_HOST)')
  }
  if (data['DATABASE_URL'] !== undefined && data['POSTGRES_HOST'] !== undefined) {
    problems.push('DATABASE_URL and POSTGRES_HOST are both set')
  }
  for (const name of ['DATABASE_URL', 'DATABASE_MIGRATION_URL'] as const) {
    const problem = data[name] && databaseUrlProblem(data[name])
    if (problem) problems.push(`${name} ${problem}`)
  }
  problems.push(...redisProblems(data))
  return problems
}

/** The URL of each of the hosts that a URL names: `//user@one:5432,two:5432/database`, as libpq has it. */
export function urlsOfHosts(url: string): string[] {
  const [, before, hosts, after] = /^([^/]+:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s.exec(url) ?? [url, url, '', '']
  return (hosts as string).split(',').map((host) => `${before}${host}${after}`)
}

function databaseUrlProblem(url: string): string | undefined {
  return urlsOfHosts(url)
    .map(hostUrlProblem)
    .find((problem) => problem !== undefined)
}

function hostUrlProblem(url: string): string | undefined {
  try {
    const { host, ssl } = parseIntoClientConfig(url)
    if (!host) return 'names no host'
    if (host.includes(',')) return 'names several hosts as a parameter'
    if (typeof ssl === 'object' && ssl.rejectUnauthorized === false) return 'asks for TLS that verifies nothing'
    return undefined
  } catch (err) {
    // Its message can hold the URL; a system error's code is that of a certificate's file.
    return `cannot be used (${(err as { code?: string }).code})`
  }
}

function redisProblems(data: NodeJS.ProcessEnv): string[] {
  const { REDIS_URL: url, REDIS_SENTINELS: sentinels, REDIS_SENTINEL_NAME: name, REDIS_CLUSTER_NODES: nodes } = data
  const problems: string[] = []
  if (url !== undefined && !isRedisUrl(url)) problems.push('REDIS_URL is not a URL of a Redis')
  if (!areHosts(sentinels)) problems.push('REDIS_SENTINELS is not a list of host:port')
  if ((sentinels === undefined) !== (name === undefined)) {
    problems.push('REDIS_SENTINELS and REDIS_SENTINEL_NAME go together')
  }
  if (!areHosts(nodes)) problems.push('REDIS_CLUSTER_NODES is not a list of host:port')
  if (nodes !== undefined && sentinels !== undefined) {
    problems.push('REDIS_SENTINELS and REDIS_CLUSTER_NODES are both set')
  }
  if (nodes !== undefined && /^[^/]*\/\/[^/]*\/0*[1-9]/.test(url ?? '')) {
    problems.push('REDIS_URL names a database, of which a Redis Cluster has none')
  }
  return problems
}

function areHosts(list: string | undefined): boolean {
  return list === undefined || list.split(',').every(isHost)
}

function isHost(host: string): boolean {
  return host !== '' && URL.parse(`redis://${host}`)?.host === host
}

function isRedisUrl(url: string): boolean {
  try {
    const { protocol, hostname, password, pathname } = new URL(url)
    decodeURIComponent(password)
    return /^rediss?:$/.test(protocol) && hostname !== '' && /^\/?\d*$/.test(pathname)
  } catch {
    return false
  }
}

/** What no single variable's type can say. */
export function contradictions(config: Config): string[] {
  const problems: string[] = []
  if (config.DATABASE_POOL_MIN > config.DATABASE_POOL_MAX) {
    problems.push('DATABASE_POOL_MIN is over DATABASE_POOL_MAX')
  }
  if (
    config.DATABASE_QUERY_TIMEOUT_MS > 0 &&
    config.DATABASE_QUERY_TIMEOUT_MS <= config.DATABASE_STATEMENT_TIMEOUT_MS
  ) {
    problems.push('DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS')
  }
  if (!config.READINESS_REQUIRES.every((name) => BACKENDS.includes(name))) {
    problems.push(`READINESS_REQUIRES must be a list of: ${BACKENDS}`)
  }
  return problems
}
