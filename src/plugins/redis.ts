import fastifyRedis from '@fastify/redis'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import { secret } from '../config.ts'
import { backoff, quietly } from '../retry.ts'
import { service } from '../service.ts'

/** A command that a stopped server has not answered is followed by a new connection after this many of its timeouts. */
const SOCKET_TIMEOUTS = 3
const MAX_RECONNECT_DELAY_MS = 500

/** `app.redis`: optional. Every command answers or fails within its timeout, and boot does not wait for it. */
export default fp(
  async function redis(fastify) {
    const { config, health, log } = fastify
    const quiet = quietly(log, 'redis failed')
    let lastError: unknown

    const client = new Redis(config.REDIS_URL, {
      lazyConnect: true,
      connectionName: service.name,
      clientInfoTag: service.name,
      connectTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
      commandTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
      socketTimeout: config.REDIS_COMMAND_TIMEOUT_MS * SOCKET_TIMEOUTS,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      // A command whose caller has its error already must not run behind its back.
      autoResendUnfulfilledCommands: false,
      retryStrategy: (attempt) => {
        renewPassword()
        return backoff(attempt, MAX_RECONNECT_DELAY_MS)
      },
      // After a failover the old connection leads to a replica.
      reconnectOnError: ({ message }) => message.startsWith('READONLY'),
    })

    /** A file that is away for a moment must not throw: the old password may still do. */
    function renewPassword(): void {
      if (!config.REDIS_URL_FILE) return
      try {
        client.options.password = decodeURIComponent(new URL(secret(config, 'REDIS_URL') as string).password)
      } catch (err) {
        quiet.failed(err)
      }
    }

    client.on('error', (err) => {
      lastError = err
      quiet.failed(err)
    })
    client.on('ready', () => {
      lastError = undefined
      quiet.over()
      health.invalidate()
    })
    client.on('close', () => health.invalidate())
    fastify.addHook('onClose', async () => client.disconnect())

    // @fastify/redis waits for `ready` and fails the boot without it after ten seconds, unless that is the status.
    client.status = 'ready'
    await fastify.register(fastifyRedis, { client })
    client.status = 'wait'
    client.connect().catch(() => {})

    health.add({
      name: 'redis',
      required: config.READINESS_REQUIRES.includes('redis'),
      check: async () => {
        if (client.status !== 'ready') throw lastError ?? new Error('Connection is closed')
        await client.ping()
      },
    })
  },
  { name: 'redis', fastify: '5.x', dependencies: ['env', 'health'] },
)
