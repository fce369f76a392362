import fastifyRedis from '@fastify/redis'
import fp from 'fastify-plugin'
import type { Redis, RedisOptions } from 'ioredis'
import { secret } from '../config.ts'
import { ping, redisClient } from '../redis-client.ts'
import { quietly } from '../retry.ts'

const GIVEN_UP_DELAY_MS = 100

/** `app.redis`: optional. Every command answers or fails within its timeout, and boot does not wait for it. */
export default fp(
  async function redis(fastify) {
    const { config, health, log } = fastify
    const quiet = quietly(log, 'redis failed')
    const client = redisClient(config)
    let lastError: unknown
    let closing = false

    /** Before each new connection. A file that is away for a moment must not throw: the old password may still do. */
    function renewPasswords(options: RedisOptions): void {
      try {
        options.password = decodeURIComponent(new URL(secret(config, 'REDIS_URL') as string).password)
        options.sentinelPassword = secret(config, 'REDIS_SENTINEL_PASSWORD')
      } catch (err) {
        quiet.failed(err)
      }
    }

    function connect(): void {
      if (!closing) client.connect().catch(() => {})
    }

    function failed(err: Error & { lastNodeError?: Error }): void {
      lastError = err.lastNodeError ?? err
      quiet.failed(lastError)
    }

    client.on('reconnecting', () => renewPasswords(client.options as RedisOptions))
    // The nodes of a Cluster have options of their own, and the listener that is there already connects them.
    client.prependListener('+node', (node: Redis) => renewPasswords(node.options))
    client.on('error', failed).on('node error', failed)
    client.on('ready', () => {
      lastError = undefined
      quiet.over()
      health.invalidate()
    })
    for (const lost of ['close', '-node']) client.on(lost, () => health.invalidate())
    // ioredis gives up when Sentinel announces a failover in the moment in which it is asked for the master.
    client.on('end', () => setTimeout(connect, GIVEN_UP_DELAY_MS).unref())
    fastify.addHook('onClose', async () => {
      closing = true
      client.disconnect()
    })

    // @fastify/redis waits for `ready` and fails the boot without it after ten seconds, unless that is the status.
    client.status = 'ready'
    await fastify.register(fastifyRedis, { client })
    client.status = 'wait'
    connect()

    health.add({
      name: 'redis',
      required: config.READINESS_REQUIRES.includes('redis'),
      check: async () => {
        if (client.status !== 'ready') throw lastError ?? new Error('Connection is closed')
        await ping(client)
      },
    })
  },
  { name: 'redis', fastify: '5.x', dependencies: ['env', 'health'] },
)
