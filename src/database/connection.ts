import type pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { secret } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import { service } from '../core/service.ts'
import type { ConnectionOptions } from './options.ts'
import { parts } from './parts.ts'
import { serverUrls } from './settings.ts'

const THIS_HOST = /^(localhost|127\.[\d.]+|::1|\/.*)$/

/**
 * How to reach the database: for the service, or over `DATABASE_MIGRATION_URL` for migrations.
 * The password is read again for each new connection, so a rotated `…_FILE` needs no restart.
 * Throws when the URL cannot be parsed.
 */
export function connectionOptions(config: Config, use: 'service' | 'migration' = 'service'): ConnectionOptions {
  const name = use === 'migration' && config.DATABASE_MIGRATION_URL ? 'DATABASE_MIGRATION_URL' : 'DATABASE_URL'
  const servers = config[name] === undefined ? fromVariables(config) : fromUrl(config, name)
  const options = {
    application_name: use === 'migration' ? `${service.name}-migrations` : service.name,
    keepAlive: config.DATABASE_KEEP_ALIVE_MS > 0,
    keepAliveInitialDelayMillis: config.DATABASE_KEEP_ALIVE_MS,
    ...(servers[0] as pg.ClientConfig),
  }
  // Over TLS in production: the default of pg is clear text.
  options.ssl ??= config.NODE_ENV === 'production' && !servers.every(({ host }) => THIS_HOST.test(host as string))
  if (config.DATABASE_SCHEMA) options.options = searchPath(options.options, config.DATABASE_SCHEMA)
  const [several] = parts
  if (!several || servers.length === 1) return options
  return { ...options, Client: several.client(options, servers, config.HEALTH_TIMEOUT_MS) }
}

/** Behind what the URL itself says. Extensions are in `public`, as a rule. */
function searchPath(options = '', schema: string): string {
  return `${options} -c search_path=${schema},public`.trimStart()
}

function fromUrl(config: Config, name: 'DATABASE_URL' | 'DATABASE_MIGRATION_URL'): pg.ClientConfig[] {
  const parse = () =>
    serverUrls(secret(config, name) as string).map((url) => parseIntoClientConfig(url) as pg.ClientConfig)
  const password = async () => parse()[0]?.password as string
  return parse().map((options) => ({ ...options, password }))
}

function fromVariables(config: Config): pg.ClientConfig[] {
  const user = config.POSTGRES_USER ?? 'postgres'
  const options = {
    port: config.POSTGRES_PORT,
    user,
    database: config.POSTGRES_DB ?? user,
    password: async () => secret(config, 'POSTGRES_PASSWORD'),
    ...(config.POSTGRES_SSLMODE && { ssl: config.POSTGRES_SSLMODE === 'verify-full' }),
  } as pg.ClientConfig
  return (config.POSTGRES_HOST as string).split(',').map((host) => ({ ...options, host }))
}
