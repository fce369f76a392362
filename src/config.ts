import { readFileSync } from 'node:fs'
import { parseIntoClientConfig } from 'pg-connection-string'
import { type Static, type TSchemaOptions, Type } from 'typebox'
import { service } from './service.ts'

/** A day. Node's timers overflow above 2^31 ms, and no timeout of a service is this long. */
const DAY_MS = 86_400_000

const text = (description: string, options: TSchemaOptions = {}) =>
  Type.Optional(Type.String({ description, ...options }))
const flag = (description: string) => Type.Boolean({ default: false, description })
const integer = (fallback: number | undefined, minimum: number, maximum: number, description: string) =>
  Type.Integer({ default: fallback, minimum, maximum, description })
/** Milliseconds. */
const duration = (fallback: number | undefined, description: string, minimum = 0) =>
  integer(fallback, minimum, DAY_MS, description)
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
  METRICS: flag('serve /metrics for Prometheus'),

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
  HEALTH_DETAILS: flag('serve /health/db, which shows versions and names'),
  READINESS_REQUIRES: Type.Unsafe<string[]>({
    type: 'string',
    separator: ',',
    default: 'database',
    description: `checks that readiness needs, of: ${BACKENDS}; empty: none`,
  }),

  API_DOCS: flag('serve /openapi.json, and /docs where @fastify/swagger-ui is installed'),

  SHUTDOWN_DELAY_MS: Type.Optional(
    duration(undefined, 'serve on after SIGTERM for, not ready; default: 5000 in production, else 0'),
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
 * The variables that carry a value, with each secret read out of its `…_FILE`, and what is wrong with them so far.
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
  return { data, problems: [...problems, ...addressProblems(data)] }
}

/** The problems that there are, of all that there can be. Each names variables, never a value. */
const found = (problems: Record<string, unknown>) => Object.keys(problems).filter((problem) => problems[problem])

/** What is wrong with the addresses of the backends. */
function addressProblems(data: NodeJS.ProcessEnv): string[] {
  const { DATABASE_URL, DATABASE_MIGRATION_URL, POSTGRES_HOST } = data
  return [
    ...found({
      'DATABASE_URL is missing (or POSTGRES_HOST)': !DATABASE_URL && !POSTGRES_HOST,
      'DATABASE_URL and POSTGRES_HOST are both set': DATABASE_URL && POSTGRES_HOST,
    }),
    ...Object.entries({ DATABASE_URL, DATABASE_MIGRATION_URL }).flatMap(([name, url]) => {
      const problem = url && urlsOfHosts(strictTls(url)).map(hostUrlProblem).find(Boolean)
      return problem ? `${name} ${problem}` : []
    }),
    ...redisProblems(data),
  ]
}

/**
 * `require` means verify-full in pg 8, with a warning, and libpq's unverified TLS in pg 9: written out, it stays. What asks
 * for libpq's is left as it is, to be refused.
 */
export function strictTls(url: string): string {
  if (/[?&]uselibpqcompat=/.test(url)) return url
  return url.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, '$1verify-full')
}

/** The URL of each of the hosts that a URL names: `//user@one:5432,two:5432/database`, as libpq has it. */
export function urlsOfHosts(url: string): string[] {
  const [, before, hosts, after] = /^([^/]+:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s.exec(url) ?? [url, url, '', '']
  return (hosts as string).split(',').map((host) => `${before}${host}${after}`)
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
  return found({
    'REDIS_URL is not a URL of a Redis': url && !isRedisUrl(url),
    'REDIS_SENTINELS is not a list of host:port': sentinels && !areHosts(sentinels),
    'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together': !sentinels !== !name,
    'REDIS_CLUSTER_NODES is not a list of host:port': nodes && !areHosts(nodes),
    'REDIS_SENTINELS and REDIS_CLUSTER_NODES are both set': nodes && sentinels,
    'REDIS_URL names a database, of which a Redis Cluster has none':
      nodes && url && /^[^/]*\/\/[^/]*\/0*[1-9]/.test(url),
  })
}

function areHosts(list: string): boolean {
  return list.split(',').every((host) => host && URL.parse(`redis://${host}`)?.host === host)
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
  const { DATABASE_QUERY_TIMEOUT_MS: queryMs, DATABASE_STATEMENT_TIMEOUT_MS: statementMs } = config
  return found({
    'DATABASE_POOL_MIN is over DATABASE_POOL_MAX': config.DATABASE_POOL_MIN > config.DATABASE_POOL_MAX,
    'DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS': queryMs > 0 && queryMs <= statementMs,
    [`READINESS_REQUIRES must be a list of: ${BACKENDS}`]: config.READINESS_REQUIRES.some(
      (name) => !BACKENDS.includes(name),
    ),
  })
}
