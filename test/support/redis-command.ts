import { Redis } from 'ioredis'
import type { Server } from '../../dev/server.ts'
import { PATIENCE_MS, within } from './helper.ts'

/** Runs one command on a connection of its own. */
export async function command({ url }: Server, name: string, ...args: (string | number)[]): Promise<unknown> {
  const client = new Redis(url, {
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: null,
    connectTimeout: PATIENCE_MS,
  })
  const said = () => `no answer of ${client.options.port} to ${name}`
  try {
    await within(client.connect(), said)
    return await within(client.call(name, args), said)
  } finally {
    client.disconnect()
  }
}
