import { Redis } from 'ioredis'
import type { Server } from '../../dev/server.ts'

/** Runs one command on a connection of its own. */
export async function command({ url }: Server, name: string, ...args: (string | number)[]): Promise<unknown> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: null })
  await client.connect()
  try {
    return await client.call(name, args)
  } finally {
    client.disconnect()
  }
}
