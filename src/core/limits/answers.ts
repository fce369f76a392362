import type { ServerResponse as Answer } from 'node:http'
import type { Socket } from 'node:net'
import type { Connections } from './connections.ts'
import type { Unread } from './unread.ts'

// An import of node:http loads undici too.
const { ServerResponse } = process.getBuiltinModule('node:http')

/** Characters. */
const LONG = 65_536

/** The class of the answers, for Node's option of that name: no event tells what is still unread of one. */
export function answers(connections: Connections, unread: Unread): typeof ServerResponse {
  return class extends ServerResponse {
    override assignSocket(socket: Socket): void {
      connections.began(socket)
      super.assignSocket(socket)
    }

    override write(...args: unknown[]): boolean {
      const more = super.write(...(args as Parameters<Answer['write']>))
      if (!more) unread.watch(this)
      return more
    }

    override end(...args: unknown[]): this {
      // Node keeps three bytes for each character of a string that the system does not take at once, and the garbage
      // collector does not count them.
      const [text, encoding] = args
      if (typeof text === 'string' && text.length > LONG) args[0] = Buffer.from(text, encoding as BufferEncoding)
      super.end(...(args as Parameters<Answer['end']>))
      connections.ended(this.req.socket)
      if (this.writableLength > 0) unread.watch(this)
      return this
    }
  } as typeof ServerResponse
}
