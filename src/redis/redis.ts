import fastifyRedis from '@fastify/redis'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Cluster, Redis } from 'ioredis'
import { mayBeClear } from '../core/config/hosts.ts'
import { failureLog } from '../core/retry.ts'
import { singleClient } from './client.ts'
import { parts } from './parts.ts'
import { isSilentlyClear } from './url.ts'

const GIVEN_UP_DELAY_MS = 100

/** `app.redis`: optional. Every command answers or fails within its timeout, and boot does not wait for it. */
export default fp(
  async function redis(fastify) {
    const { config, health, log } = fastify
    const failures = failureLog(log, 'redis failed')
    const listener = { onLost: () => health.invalidate(), log }
    const {
      redis: client,
      hosts,
      ping,
    } = parts.map((part) => part.client(config, listener)).find(Boolean) ?? singleClient(config, listener)
    if (isSilentlyClear(config.REDIS_URL) && !hosts.every((host) => mayBeClear(host, config)))
      log.warn(
        { setting: 'REDIS_URL' },
        'Redis is on another host, and spoken to in clear text: use rediss:, or say sslmode=disable',
      )
    let lastError: unknown
    let closing = false

    function connect(): void {
      if (!closing) client.connect().catch(() => {})
    }

    client.on('error', (err: Error & { lastNodeError?: Error; command?: { name: string } }) => {
      lastError = err.lastNodeError ?? err
      failures.failed(lastError, err.command?.name === 'select' ? { setting: 'REDIS_URL' } : undefined)
    })
    client.on('ready', () => {
      lastError = undefined
      failures.over()
      health.invalidate()
    })
    client.on('close', listener.onLost)
    // ioredis gives up for good when it is told of a failover while it asks for the master.
    client.on('end', () => setTimeout(connect, GIVEN_UP_DELAY_MS).unref())
    fastify.addHook('onClose', async () => {
      closing = true
      client.disconnect()
    })

    await decorate(fastify, client)
    connect()

    health.add({
      name: 'redis',
      check: async () => {
        if (client.status !== 'ready') throw lastError ?? new Error('Connection is closed')
        await ping()
      },
    })
  },
  { name: 'redis', fastify: '5.x', dependencies: ['env', 'health'] },
)

/**
 * @fastify/redis waits for `ready`, and fails the boot without it after ten seconds, unless that is the status already
 * (fastify-redis issues 98, 115 and 197). This can go when it takes a client that is not connected.
 */
async function decorate(fastify: FastifyInstance, client: Redis | Cluster): Promise<void> {
  const { status } = client
  client.status = 'ready'
  await fastify.register(fastifyRedis, { client })
  client.status = status
}
