import type { FastifyBaseLogger } from 'fastify'
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { rotating } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import { service } from '../core/service.ts'
import { presentClient } from './client.ts'
import { type ConnectionOptions, POSTGRES_URL, type Use } from './options.ts'
import { parts } from './parts.ts'
import { problemOf, serverUrls } from './settings.ts'

const THIS_HOST = /^(localhost|127\.[\d.]+|::1|\/.*)$/

type Servers = () => pg.ClientConfig[]

/**
 * How to reach the database: for the service, or over `DATABASE_MIGRATION_URL` for migrations.
 * The client reads a `…_FILE` again for each new connection, so that what is rotated there needs no restart.
 * Throws when the URL cannot be parsed.
 */
export function connectionOptions(config: Config, use: Use = 'service', log?: FastifyBaseLogger): ConnectionOptions {
  const name = use === 'migration' && config.DATABASE_MIGRATION_URL ? 'DATABASE_MIGRATION_URL' : 'DATABASE_URL'
  const read = config[name] === undefined ? fromVariables(config, log) : fromUrl(config, name, log)
  const present = () => {
    const servers = read()
    // Over TLS in production: the default of pg is clear text.
    const ssl = config.NODE_ENV === 'production' && !servers.every(({ host }) => THIS_HOST.test(host as string))
    return servers.map((server) => ({
      application_name: use === 'migration' ? `${service.name}-migrations` : service.name,
      keepAlive: config.DATABASE_KEEP_ALIVE_MS > 0,
      keepAliveInitialDelayMillis: config.DATABASE_KEEP_ALIVE_MS,
      ...server,
      ssl: server.ssl ?? ssl,
      ...(config.DATABASE_SCHEMA && { options: searchPath(server.options, config.DATABASE_SCHEMA) }),
    }))
  }
  const servers = present()
  const first = () => present()[0] as pg.ClientConfig
  const [part] = parts
  const several = servers.length > 1
  const Client = several && part ? part.client(present, config.HEALTH_TIMEOUT_MS) : pg.Client
  return { ...servers[0], several, Client: presentClient(Client, servers[0] as pg.ClientConfig, first, use) }
}

/** After the options of the URL, so that it wins. Extensions are in `public`, as a rule. */
function searchPath(options = '', schema: string): string {
  return `${options} -c search_path=${schema},public`.trimStart()
}

function fromUrl(config: Config, name: 'DATABASE_URL' | 'DATABASE_MIGRATION_URL', log?: FastifyBaseLogger): Servers {
  let hosts: number | undefined
  return rotating(
    config,
    name,
    (url = '') => {
      const problem = new RegExp(POSTGRES_URL.pattern).test(url) ? problemOf(url) : 'is no URL of PostgreSQL'
      if (problem) throw new Error(problem)
      const servers = serverUrls(url).map((one) => parseIntoClientConfig(one) as pg.ClientConfig)
      hosts ??= servers.length
      if (hosts === 1 && servers.length > 1)
        throw new Error('names several hosts in place of one: that takes a restart')
      return servers
    },
    log,
  )
}

function fromVariables(config: Config, log?: FastifyBaseLogger): Servers {
  const user = config.POSTGRES_USER ?? 'postgres'
  const password = rotating(config, 'POSTGRES_PASSWORD', (value) => value, log)
  const options = {
    port: config.POSTGRES_PORT,
    user,
    database: config.POSTGRES_DB ?? user,
    ...(config.POSTGRES_SSLMODE && { ssl: config.POSTGRES_SSLMODE === 'verify-full' }),
  } as pg.ClientConfig
  const hosts = (config.POSTGRES_HOST as string).split(',')
  return () => hosts.map((host) => ({ ...options, host, password: password() }) as pg.ClientConfig)
}
