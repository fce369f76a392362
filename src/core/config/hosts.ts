import { BlockList, isIP } from 'node:net'
import type { Config } from './settings.ts'

const loopback = subnets('127.0.0.0/8', '::1/128')
/** RFC 1918, link-local (RFC 3927, RFC 4291) and unique local (RFC 4193). */
const unrouted = subnets('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fe80::/10', 'fc00::/7')

/*
 * A host is judged by its spelling, never by a look-up, because whoever answers that could open the connection. So an
 * address counts in its plain notation alone: `2130706433`, `0177.0.0.1` and `127.1` are names to this page, and others.
 * `localhost` stands in /etc/hosts, but glibc asks the network for `localhost.` and `app.localhost`, whatever RFC 6761 says.
 */

/** Whether what is sent to it stays on this host: a socket's path, localhost, a loopback address. */
export function isThisHost(host: string): boolean {
  return host.startsWith('/') || /^localhost$/i.test(host) || isIn(loopback, host)
}

/**
 * Whether it is this host or a private development address: one that no router forwards, a name without a dot (a
 * service of Compose), one below localhost, or the host of a container.
 */
export function isPrivate(host: string): boolean {
  return (
    isThisHost(host) ||
    /^([a-z][\w-]*|[a-z\d.-]+\.localhost|host\.docker\.internal)$/i.test(host) ||
    isIn(unrouted, host)
  )
}

/** Whether clear text to it is what one expects. Production trusts no network, a private one neither. */
export function mayBeClear(host: string, { NODE_ENV }: Config): boolean {
  return NODE_ENV === 'production' ? isThisHost(host) : isPrivate(host)
}

/** An IPv4 address that is written as an IPv6 one (`::ffff:127.0.0.1`) is in the list of the former. */
function isIn(list: BlockList, host: string): boolean {
  const version = isIP(host)
  const [address = ''] = host.split('%') // the zone of a link-local address
  return version > 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

function subnets(...all: string[]): BlockList {
  const list = new BlockList()
  for (const subnet of all) {
    const [address = '', prefix] = subnet.split('/')
    // isIP() would compile Node's expression for IPv6, 4 ms of a boot.
    list.addSubnet(address, Number(prefix), address.includes(':') ? 'ipv6' : 'ipv4')
  }
  return list
}
