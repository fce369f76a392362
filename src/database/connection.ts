import type pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { type Config, secret } from '../config.ts'
import { service } from '../service.ts'

export type Use = 'service' | 'migration'

const THIS_HOST = /^(localhost|127\.[\d.]+|::1|\/.*)$/

/**
 * How to reach the database: for the service, or over `DATABASE_MIGRATION_URL` for migrations.
 * The password is read again for each new connection, so a rotated `…_FILE` needs no restart.
 * Throws when the URL cannot be parsed.
 */
export function connectionOptions(config: Config, use: Use = 'service'): pg.ClientConfig {
  const name = use === 'migration' && config.DATABASE_MIGRATION_URL ? 'DATABASE_MIGRATION_URL' : 'DATABASE_URL'
  const options = config[name] === undefined ? fromVariables(config) : fromUrl(config, name)
  // Sent over TLS in production: the default of `pg` is clear text.
  options.ssl ??= config.NODE_ENV === 'production' && !THIS_HOST.test(options.host as string)
  return {
    application_name: use === 'migration' ? `${service.name}-migrations` : service.name,
    keepAlive: config.DATABASE_KEEP_ALIVE_MS > 0,
    keepAliveInitialDelayMillis: config.DATABASE_KEEP_ALIVE_MS,
    ...options,
  }
}

function fromUrl(config: Config, name: 'DATABASE_URL' | 'DATABASE_MIGRATION_URL'): pg.ClientConfig {
  const parse = () => parseIntoClientConfig(strictTls(secret(config, name) as string))
  return { ...parse(), password: async () => parse().password as string }
}

/** `require` means verify-full in pg 8, with a warning, and libpq's unverified TLS in pg 9: written out, it stays. */
function strictTls(url: string): string {
  return url.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, '$1verify-full')
}

function fromVariables(config: Config): pg.ClientConfig {
  const user = config.POSTGRES_USER ?? 'postgres'
  return {
    host: config.POSTGRES_HOST,
    port: config.POSTGRES_PORT,
    user,
    database: config.POSTGRES_DB ?? user,
    password: async () => secret(config, 'POSTGRES_PASSWORD'),
    ...(config.POSTGRES_SSLMODE && { ssl: config.POSTGRES_SSLMODE === 'verify-full' }),
  } as pg.ClientConfig
}
