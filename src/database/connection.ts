import type { FastifyBaseLogger } from 'fastify'
import { isThisHost, mayBeClear } from '../core/config/hosts.ts'
import { rotating } from '../core/config/secrets.ts'
import type { Config } from '../core/config/settings.ts'
import { service } from '../core/service.ts'
import { BoundClient } from './binding.ts'
import { presentClient } from './client.ts'
import { type ConnectionOptions, POSTGRES_URL, type ServerOptions, type Use } from './options.ts'
import { parsers } from './parsers.ts'
import { parts } from './parts.ts'
import { tlsOf, VERIFIED } from './tls.ts'
import { problemOf, serverOf, serverUrls } from './url.ts'

type Servers = () => ServerOptions[]

/**
 * How to reach the database: for the service, or over `DATABASE_MIGRATION_URL` for migrations.
 * The client reads a `…_FILE` again for each new connection, so that what is rotated there needs no restart.
 * Throws when the URL cannot be parsed.
 */
export function connectionOptions(config: Config, use: Use = 'service', log?: FastifyBaseLogger): ConnectionOptions {
  const servers = serversOf(config, use, log)
  const present = () =>
    servers().map((server) => ({
      application_name: use === 'migration' ? `${service.name}-migrations` : service.name,
      types: parsers,
      keepAlive: config.DATABASE_KEEP_ALIVE_MS > 0,
      keepAliveInitialDelayMillis: config.DATABASE_KEEP_ALIVE_MS,
      ...server,
      ...(config.DATABASE_SCHEMA && { options: searchPath(server.options, config.DATABASE_SCHEMA) }),
    }))
  const all = present()
  const first = () => present()[0] as ServerOptions
  const [part] = parts
  const several = all.length > 1
  const Client = several && part ? part.client(present, config.HEALTH_TIMEOUT_MS) : BoundClient
  const cures = { use, set: (parameter: string) => says(sourceOf(config, use), parameter) }
  return { ...all[0], several, Client: presentClient(Client, all[0] as ServerOptions, first, cures) }
}

type Source = 'DATABASE_URL' | 'DATABASE_MIGRATION_URL' | 'POSTGRES_HOST'

/** How it says a parameter of TLS. */
function says(source: Source, parameter: string): string {
  if (source !== 'POSTGRES_HOST') return `${parameter} in ${source}`
  return `POSTGRES_${parameter.replace(/^\w+/, (name) => name.toUpperCase())}`
}

function sourceOf(config: Config, use: Use): Source {
  if (use === 'migration' && config.DATABASE_MIGRATION_URL) return 'DATABASE_MIGRATION_URL'
  return config.DATABASE_URL === undefined ? 'POSTGRES_HOST' : 'DATABASE_URL'
}

/** The servers of now, with what is meant of TLS where nothing is said of it: the default of pg is clear text. */
function serversOf(config: Config, use: Use, log?: FastifyBaseLogger): Servers {
  const name = sourceOf(config, use)
  const read = name === 'POSTGRES_HOST' ? fromVariables(config, log) : fromUrl(config, name, log)
  return () => {
    const servers = read()
    const ssl = !servers.every(({ host }) => mayBeClear(host as string, config)) && VERIFIED
    return servers.map((server) => ({ ...server, ssl: server.ssl ?? ssl }))
  }
}

/** The settings because of which passwords and rows leave this host in clear text. */
export function clearText(config: Config): string[] {
  const uses: Use[] = ['service', 'migration']
  const clear = uses.filter((use) =>
    serversOf(config, use)().some(({ ssl, host }) => !ssl && !isThisHost(host as string)),
  )
  return [...new Set(clear.map((use) => sourceOf(config, use)))]
}

/** After the options of the URL, so that it wins. Extensions are in `public`, as a rule. */
function searchPath(options = '', schema: string): string {
  return `${options} -c search_path=${schema},public`.trimStart()
}

function fromUrl(config: Config, name: Exclude<Source, 'POSTGRES_HOST'>, log?: FastifyBaseLogger): Servers {
  let hosts: number | undefined
  return rotating(
    config,
    name,
    (url = '') => {
      const problem = new RegExp(POSTGRES_URL.pattern).test(url) ? problemOf(url) : 'is no URL of PostgreSQL'
      if (problem) throw new Error(problem)
      const servers = serverUrls(url).map(serverOf)
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
  const said = [
    ['sslmode', config.POSTGRES_SSLMODE],
    ['sslrootcert', config.POSTGRES_SSLROOTCERT],
  ]
  const options = {
    port: config.POSTGRES_PORT,
    user,
    database: config.POSTGRES_DB ?? user,
    ...tlsOf(new URLSearchParams(said.filter(([, value]) => value) as string[][])),
  }
  const hosts = (config.POSTGRES_HOST as string).split(',')
  return () => hosts.map((host) => ({ ...options, host, password: password() }) as ServerOptions)
}
