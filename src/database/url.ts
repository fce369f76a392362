import { parseIntoClientConfig } from 'pg-connection-string'
import { isMisread, MISREAD } from '../core/config/urls.ts'
import type { ServerOptions } from './options.ts'
import { parts } from './parts.ts'
import { problemOfTls, tlsOf } from './tls.ts'

/**
 * The parameters of a URL that reach pg, beside those of TLS. It would take each of its own options too: with
 * `connectionString`, say, another server than the one that was looked at.
 */
const PASSED = [
  ...['user', 'password', 'host', 'port', 'application_name', 'fallback_application_name', 'client_encoding'],
  ...['options', 'replication', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'],
  'query_timeout',
]

/** The URL of each server that a URL names. */
export function serverUrls(url: string): string[] {
  return parts.reduce((urls, part) => urls.flatMap((one) => part.urls(one)), [url])
}

/** Says what is wrong with a URL of the database; its text goes on after the name of the variable. */
export function problemOf(url: string): string | undefined {
  return isMisread(url) ? MISREAD : serverUrls(url).map(problemOfServer).find(Boolean)
}

function problemOfServer(url: string): string | undefined {
  const problem = problemOfTls(splitUrl(url).parameters)
  if (problem) return problem
  try {
    const { host } = serverOf(url)
    if (!host) return 'names no host'
    return host.includes(',') ? 'names several hosts where one can be' : undefined
  } catch (err) {
    // Its message can hold the URL; a system error's code is that of a certificate's file.
    return `cannot be used (${(err as { code?: string }).code})`
  }
}

/**
 * The server that a URL names. Throws where it cannot be parsed, or a certificate's file cannot be read. What it says of
 * TLS is not left to pg-connection-string, whose `require` is verify-full in pg 8 and libpq's unverified TLS in pg 9.
 */
export function serverOf(url: string): ServerOptions {
  const { address, parameters } = splitUrl(url)
  const said = PASSED.map((name) => [name, parameters.getAll(name).at(-1)]).filter(([, value]) => value)
  const server = { ...parseIntoClientConfig(address), ...Object.fromEntries(said), ...tlsOf(parameters) }
  return { ...server, ...(server.port && { port: Number(server.port) }) }
}

/** Into what leads to a server, and its parameters: pg-connection-string reads those as URLSearchParams does. */
export function splitUrl(url: string): { address: string; parameters: URLSearchParams } {
  const [, address = '', query] = /^([^?#]*)\??([^#]*)/s.exec(url) as RegExpExecArray
  return { address, parameters: new URLSearchParams(query) }
}
