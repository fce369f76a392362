import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { isDecodable, isMisread, MISREAD } from '../core/config/urls.ts'

/**
 * The parameters of a URL, and what they can be. ioredis would take each of its own options from there: `tls`, say, with
 * which `redis://` verifies nothing.
 */
const PARAMETERS: Record<string, RegExp> = {
  username: /./,
  password: /./,
  db: /^\d+$/,
  family: /^[046]$/,
  sslmode: /^disable$/,
}

/** What is wrong with a URL of a Redis, to be read behind the name of its variable. */
export function problemOf(url: string): string | undefined {
  if (isMisread(url) || !isDecodable(url)) return MISREAD
  const { protocol = '', hostname = '', pathname = '', searchParams = [] } = URL.parse(url) ?? {}
  if (!/^rediss?:$/.test(protocol) || !hostname || !/^\/?\d*$/.test(pathname)) return 'is not a URL of a Redis'
  for (const [name, value] of searchParams) {
    const values = PARAMETERS[name]
    if (!values) return `has the parameter ${name}, which is not one of ${Object.keys(PARAMETERS).join(', ')}`
    if (!values.test(value)) return `has ${name}, which cannot be that`
  }
  const isContrary = protocol === 'rediss:' && new URL(url).searchParams.has('sslmode')
  return isContrary ? 'has sslmode=disable, and asks for TLS (rediss:)' : undefined
}

/** By the names that ioredis has for them. */
export interface Access {
  host: string
  port: number
  username: string | undefined
  password: string | undefined
  db: number
  family: number
  tls: TlsOptions | undefined
}

/** Where a URL, in which nothing is wrong, leads, and what opens it. ioredis itself knows `rediss:` in lower case alone. */
export function accessOf(url: string): Access {
  const { protocol, hostname, port, username, password, pathname, searchParams } = new URL(url)
  const given = (name: string) => searchParams.get(name) ?? undefined
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 6_379),
    username: decodeURIComponent(username) || given('username'),
    password: decodeURIComponent(password) || given('password'),
    db: Number(pathname.slice(1) || given('db') || 0),
    family: Number(given('family') ?? 0),
    // Also where NODE_TLS_REJECT_UNAUTHORIZED=0 says otherwise.
    tls: protocol === 'rediss:' ? { rejectUnauthorized: true } : undefined,
  }
}

/** Whether it means clear text without saying so. */
export function isSilentlyClear(url: string): boolean {
  const { protocol, searchParams } = new URL(url)
  return protocol === 'redis:' && !searchParams.has('sslmode')
}
