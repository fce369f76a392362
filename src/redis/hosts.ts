/** Whether each item of the list is a host, or a host with a port. */
export function areHosts(list: string): boolean {
  return list.split(',').every((host) => host && URL.parse(`redis://${host}`)?.host === host)
}

export function hosts(list: string, defaultPort: number): { host: string; port: number }[] {
  return list.split(',').map((item) => {
    const { hostname, port } = new URL(`redis://${item}`)
    return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || defaultPort) }
  })
}
