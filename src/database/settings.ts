import { readFileSync } from 'node:fs'
import { Type } from 'typebox'
import { type Config, duration, flag, integer, problemsThatHold, type Settings, text } from '../core/config/settings.ts'
import { POSTGRES_URL } from './options.ts'
import { problemOf } from './url.ts'

export const settings = {
  DATABASE_URL: text('postgres://user:password@host:5432/database; or the POSTGRES_ variables', POSTGRES_URL),
  DATABASE_URL_FILE: text('file that holds DATABASE_URL, read again for each new connection'),
  DATABASE_MIGRATION_URL: text('direct connection of the role that owns the schema; default: the same', POSTGRES_URL),
  DATABASE_MIGRATION_URL_FILE: text('file that holds DATABASE_MIGRATION_URL, read again for each new connection'),
  POSTGRES_HOST: text('database host, in place of DATABASE_URL', { pattern: '^[^\\s,]+$' }),
  POSTGRES_PORT: integer(5432, 1, 65_535, 'database port'),
  POSTGRES_USER: text('database role; default: postgres'),
  POSTGRES_PASSWORD: text('password of that role'),
  POSTGRES_PASSWORD_FILE: text('file that holds POSTGRES_PASSWORD, read again for each new connection'),
  POSTGRES_DB: text('database name; default: the name of the role'),
  POSTGRES_SSLMODE: Type.Optional(
    Type.Enum(['disable', 'verify-ca', 'verify-full'], {
      type: 'string',
      description:
        'TLS to POSTGRES_HOST; default: verify-full, but disable on this host, and on private addresses outside production',
    }),
  ),
  POSTGRES_SSLROOTCERT: text('file of the authorities that sign the certificate of POSTGRES_HOST'),
  DATABASE_SCHEMA: text(
    "schema of the service's tables, made when missing; default: the first of the role's search_path",
    { pattern: '^(?!pg_)[a-z_][a-z0-9_]{0,62}$' },
  ),
  DATABASE_POOL_MIN: integer(0, 0, 10_000, 'connections that stay open when idle'),
  DATABASE_POOL_MAX: integer(10, 1, 10_000, 'connections at most'),
  DATABASE_CONNECT_TIMEOUT_MS: duration(
    2_000,
    'wait for a connection of the pool, or for any sign of a silent database; then the request gets 503',
    1,
  ),
  DATABASE_IDLE_TIMEOUT_MS: duration(30_000, 'close an idle connection above the minimum after this; 0: never'),
  DATABASE_MAX_LIFETIME_SECONDS: integer(1_800, 0, 86_400, 'replace a connection after this; 0: never'),
  DATABASE_STATEMENT_TIMEOUT_MS: duration(
    30_000,
    'the server cancels a statement after this; 0 sends nothing (poolers)',
  ),
  DATABASE_IDLE_TRANSACTION_TIMEOUT_MS: Type.Optional(
    duration(
      undefined,
      'the server ends a connection whose transaction is idle for this long; default: DATABASE_STATEMENT_TIMEOUT_MS; 0 sends nothing (poolers)',
    ),
  ),
  DATABASE_QUERY_TIMEOUT_MS: duration(35_000, 'drop a connection whose query is unanswered this long; 0: never'),
  DATABASE_KEEP_ALIVE_MS: duration(10_000, 'idle time before TCP keep-alive probes; 0: none'),
  HEALTH_DETAILS: flag('serve /health/db, which shows versions and names'),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

export const secrets = ['DATABASE_URL', 'DATABASE_MIGRATION_URL', 'POSTGRES_PASSWORD']

export function problems({
  DATABASE_URL,
  DATABASE_MIGRATION_URL,
  POSTGRES_HOST,
  POSTGRES_SSLMODE,
  POSTGRES_SSLROOTCERT,
}: NodeJS.ProcessEnv): string[] {
  return [
    ...problemsThatHold({
      'DATABASE_URL is missing (or POSTGRES_HOST)': !DATABASE_URL && !POSTGRES_HOST,
      'DATABASE_URL and POSTGRES_HOST are both set': DATABASE_URL && POSTGRES_HOST,
      'POSTGRES_SSLMODE=verify-ca takes the file of an authority of your own in POSTGRES_SSLROOTCERT':
        POSTGRES_SSLMODE === 'verify-ca' && !POSTGRES_SSLROOTCERT,
    }),
    ...Object.entries({ DATABASE_URL, DATABASE_MIGRATION_URL }).flatMap(([name, url]) => {
      const problem = url && problemOf(url)
      return problem ? `${name} ${problem}` : []
    }),
    ...unreadable('POSTGRES_SSLROOTCERT', POSTGRES_SSLROOTCERT),
  ]
}

function unreadable(name: string, file: string | undefined): string[] {
  try {
    if (file) readFileSync(file)
    return []
  } catch (err) {
    return [`${name} cannot be read (${(err as NodeJS.ErrnoException).code})`]
  }
}

export function contradictions(config: Config): string[] {
  const { DATABASE_QUERY_TIMEOUT_MS: queryMs, DATABASE_STATEMENT_TIMEOUT_MS: statementMs } = config
  return problemsThatHold({
    'DATABASE_POOL_MIN is over DATABASE_POOL_MAX': config.DATABASE_POOL_MIN > config.DATABASE_POOL_MAX,
    'DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS': queryMs > 0 && queryMs <= statementMs,
  })
}
