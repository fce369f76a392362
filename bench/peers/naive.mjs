/** The same libraries as their READMEs show them: a query and a PING for every probe, the migrator at every boot. */
import fs from 'node:fs/promises'
import path from 'node:path'
import fastifyEnv from '@fastify/env'
import fastifyPostgres from '@fastify/postgres'
import fastifyRedis from '@fastify/redis'
import { createCache } from 'async-cache-dedupe'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import { Kysely, PostgresDialect } from 'kysely'
import { FileMigrationProvider, Migrator } from 'kysely/migration'

const fastify = Fastify({ logger: true })

await fastify.register(fastifyEnv, {
  schema: {
    type: 'object',
    required: ['PORT', 'DATABASE_URL', 'REDIS_URL'],
    properties: { PORT: { type: 'integer' }, DATABASE_URL: { type: 'string' }, REDIS_URL: { type: 'string' } },
  },
})
await fastify.register(fastifyPostgres, { connectionString: fastify.config.DATABASE_URL })
await fastify.register(fastifyRedis, { url: fastify.config.REDIS_URL })
createCache({ storage: { type: 'redis', options: { client: fastify.redis } } })

const db = new Kysely({ dialect: new PostgresDialect({ pool: fastify.pg.pool }) })
const migrationFolder = path.join(import.meta.dirname, '../../migrations')
const provider = new FileMigrationProvider({ fs, path, migrationFolder })
const { error } = await new Migrator({ db, provider }).migrateToLatest()
if (error) throw error

fastify.get('/health', async () => {
  await Promise.all([fastify.pg.query('select 1'), fastify.redis.ping()])
  return { status: 'ok' }
})

closeWithGrace({ delay: 500 }, async () => {
  await fastify.close()
})
await fastify.listen({ port: fastify.config.PORT, host: '127.0.0.1' })
