import { existsSync, readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { respond } from '../respond.ts'
import { boundArrival } from './arrival.ts'
import { SPARE_CONNECTIONS } from './connections.ts'
import { hitLog } from './hits.ts'

/** Bounds connections, requests that arrive, and answers that are not read. Probes are answered beyond these limits. */
export async function limits(fastify: FastifyInstance): Promise<void> {
  const { config, log, server } = fastify
  const { connections, unread } = fastify.limits
  boundArrival(fastify)

  server.keepAliveTimeout = config.KEEP_ALIVE_TIMEOUT_MS
  // The other half is for the backends, and for files.
  const possible = Math.floor(openFiles() / 2) - SPARE_CONNECTIONS
  const limit = Math.max(1, Math.min(possible, config.MAX_CONNECTIONS))
  if (limit < config.MAX_CONNECTIONS) log.warn({ limit }, 'open files allow fewer connections than MAX_CONNECTIONS')
  connections.guard(server, limit, hitLog(log, 'connections are at their limit', { limit }))

  const { SEND_TIMEOUT_MS: timeoutMs, UNREAD_LIMIT_BYTES: limitBytes = Math.floor(memory() / 4) } = config
  unread.guard(timeoutMs, limitBytes, hitLog(log, 'clients do not read their answers', { timeoutMs, limitBytes }))

  fastify.addHook('onRequest', ({ raw, routeOptions }, reply, done) => {
    const probe = routeOptions.config.quiet === true
    const late = connections.isLate(raw.socket)
    if (late) reply.header('connection', 'close')
    if (probe) return done()
    if (!late) return unread.whenRoom(done)
    connections.refused()
    respond(reply, { status: 503, code: 'TOO_MANY_CONNECTIONS', message: 'Too many connections' })
  })
}

export default fp(limits, { name: 'limits', fastify: '5.x', dependencies: ['env'] })

/** How many files this process may have open, connections among them. */
function openFiles(): number {
  const [text = ''] = ['/proc/self/limits'].filter(existsSync).map((file) => readFileSync(file, 'utf8'))
  return Math.min(...Array.from(text.matchAll(/^Max open files +(\d+)/gm), ([, soft]) => Number(soft)))
}

/** The bytes that its container or the machine has. */
function memory(): number {
  return Math.min(process.constrainedMemory(), totalmem())
}
