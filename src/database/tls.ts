import { readFileSync } from 'node:fs'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { ServerOptions } from './options.ts'

/** Node's own store of authorities, `NODE_EXTRA_CA_CERTS` among them, as PostgreSQL 16's libpq names it. */
const SYSTEM = 'system'

/**
 * What a URL may say of TLS, and the values that have one meaning. A parameter that is not here and whose name is of TLS
 * is refused, because pg ignores it, or takes it for something weaker (node-postgres issue 2009).
 *
 * | Parameter | Meaning |
 * | --- | --- |
 * | `sslmode=disable` | clear text |
 * | `sslmode=verify-full`, `require`, `prefer`, `ssl=true`, `ssl=1` | TLS to a server whose certificate and name are verified |
 * | `sslmode=verify-ca` | the same without the name, for an authority of one's own |
 * | `sslrootcert` | file with the authorities; `system`: those of Node |
 * | `sslcert`, `sslkey` | files of the client's own certificate |
 * | `sslnegotiation` | `direct`: TLS from the first byte |
 * | `channel_binding` | `require`: refuse to log in without; `prefer`: with it where the server offers it |
 *
 * The others ask for what holds anyway, and stand in strings that were made for libpq or Prisma.
 */
const ACCEPTED: Record<string, string[]> = {
  sslmode: ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'],
  ssl: ['true', '1'],
  sslrootcert: [],
  sslcert: [],
  sslkey: [],
  sslsni: ['1'],
  sslnegotiation: ['postgres', 'direct'],
  channel_binding: ['disable', 'prefer', 'require'],
  sslcompression: ['0'],
  ssl_min_protocol_version: ['TLSv1', 'TLSv1.1', 'TLSv1.2'],
  sslaccept: ['strict'],
}
const OF_TLS = /ssl|tls|channel_?binding|libpqcompat/i

/** Of both default and wish: it verifies also where NODE_TLS_REJECT_UNAUTHORIZED=0 says otherwise. */
export const VERIFIED: TlsOptions = { rejectUnauthorized: true }

/** What is wrong with what these parameters say of TLS. It names them, never their values. */
export function problemOfTls(parameters: URLSearchParams): string | undefined {
  for (const name of new Set(parameters.keys())) {
    if (!OF_TLS.test(name)) continue
    const values = ACCEPTED[name]
    if (!values) return `has ${name}, which is refused: say in sslmode what is wanted`
    const [value, ...others] = new Set(parameters.getAll(name))
    if (others.length > 0) return `says ${name} twice`
    if (!value || (values.length > 0 && !values.includes(value))) return `has ${name}, which takes ${wanted(name)}`
  }
  const said = Object.fromEntries(parameters)
  if (said['ssl'] && said['sslmode'] === 'disable') return 'has both ssl and sslmode=disable'
  const needsTls = said['sslnegotiation'] === 'direct' || said['channel_binding'] === 'require'
  if (said['sslmode'] === 'disable' && needsTls) return 'has sslmode=disable, and asks for what only TLS has'
  if (!said['sslcert'] !== !said['sslkey']) return 'has one of sslcert and sslkey without the other'
  if (said['sslmode'] === 'verify-ca' && (said['sslrootcert'] ?? SYSTEM) === SYSTEM)
    return 'has sslmode=verify-ca, which takes the file of an authority of your own in sslrootcert: else use verify-full'
  return undefined
}

function wanted(name: string): string {
  if (name === 'ssl') return 'true: for all else write sslmode=disable or sslmode=verify-full in its place'
  return (ACCEPTED[name] as string[]).join(', ') || 'the path of a file'
}

function asksForTls(said: Record<string, string>): boolean {
  const { sslmode, ssl, sslrootcert, sslcert, sslnegotiation, channel_binding } = said
  return Boolean(
    sslmode || ssl || sslrootcert || sslcert || sslnegotiation === 'direct' || channel_binding === 'require',
  )
}

/**
 * What these parameters, in which nothing is wrong, say of TLS; `ssl` is left out where they say nothing. Throws when a
 * file cannot be read.
 */
export function tlsOf(parameters: URLSearchParams): Pick<ServerOptions, 'ssl' | 'sslnegotiation' | 'channelBinding'> {
  const said = Object.fromEntries(parameters)
  const { sslmode, sslrootcert = SYSTEM, sslcert, sslkey, channel_binding: channelBinding } = said
  if (sslmode === 'disable') return { ssl: false }
  if (!asksForTls(said)) return {}
  return {
    ssl: {
      ...VERIFIED,
      ...(sslrootcert !== SYSTEM && { ca: readFileSync(sslrootcert, 'utf8') }),
      ...(sslcert && sslkey && { cert: readFileSync(sslcert, 'utf8'), key: readFileSync(sslkey, 'utf8') }),
      ...(sslmode === 'verify-ca' && { checkServerIdentity: () => undefined }),
    },
    ...(said['sslnegotiation'] === 'direct' && { sslnegotiation: 'direct' }),
    ...(channelBinding && { channelBinding }),
  }
}
