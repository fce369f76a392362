import proxyAddr from '@fastify/proxy-addr'

/** Whether the proxy at this address, the `hop`th on the way back to the client, is believed. */
export type Trust = (address: string, hop: number) => boolean

/**
 * Reads `TRUST_PROXY`: true, false, how many proxies there are, or a list of their addresses and networks. Throws for
 * anything else. Fastify itself takes a number and then trusts nobody: whoever reaches the port past the proxy could
 * name any address. It is for a port that only the proxy reaches, as `true` is.
 */
export function trusted(setting: string): Trust {
  if (setting === 'true') return () => true
  if (setting === 'false') return () => false
  if (/^\d{1,2}$/.test(setting)) return (_, hop) => hop < Number(setting)
  return proxyAddr.compile(setting.split(',').map((network) => network.trim()))
}

/** Whether `trusted` can read it. */
export function isTrust(setting: string): boolean {
  try {
    trusted(setting)
    return true
  } catch {
    return false
  }
}
