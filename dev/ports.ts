import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** What a server was given and does not listen on yet is free for a while. */
const given = new Set<number>()

/**
 * A free port on 127.0.0.1, below the range that systems take outgoing connections from (32768 on Linux, 49152 on
 * macOS). Inside that range a client that keeps dialling the port of a stopped server can connect to itself, and any
 * outgoing connection can take the port before the server is back. No port is given twice.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(15_000, 30_000)
    if (given.has(port)) continue
    given.add(port)
    if (await isFree(port)) return port
  }
  throw new Error('no free port found between 15000 and 29999')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
