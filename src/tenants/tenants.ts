import fp from 'fastify-plugin'
import { retry } from '../core/retry.ts'
import { connectionOptions } from '../database/connection.ts'
import type { ServicePool } from '../database/pool.ts'
import { findings } from './roles.ts'
import { guardSessions } from './sessions.ts'

/** Warns, once a boot, of roles that can see or change the rows of all tenants whatever the policies say. */
export default fp(
  async function tenants(fastify) {
    const { config, db, lifecycle, log } = fastify
    guardSessions(fastify.pg.pool as ServicePool, log)

    const look = async () => {
      const migrator = config.DATABASE_MIGRATION_URL && connectionOptions(config, 'migration').user
      const isProduction = config.NODE_ENV === 'production'
      for (const found of await findings(db, { migrator, isProduction })) log.warn(...found)
    }
    const message = 'waiting to look at the roles'
    lifecycle.add('tenants', ({ signal }) => retry(look, { signal, log, message }), { shown: false })
  },
  { name: 'tenants', fastify: '5.x', dependencies: ['env', 'lifecycle', 'database'] },
)
