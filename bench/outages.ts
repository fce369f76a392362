import pg from 'pg'
import type { Server } from '../dev/server.ts'

interface Outage {
  /** The route of this service that must say so. */
  route: '/health' | '/health/ready'
  make(postgres: Server, redis: Server): unknown
  mend(postgres: Server, redis: Server): unknown
}

/** The outages of a backend that are measured. */
export const OUTAGES: Record<string, Outage> = {
  'PostgreSQL stopped': {
    route: '/health/ready',
    make: (postgres) => postgres.stop(),
    mend: (postgres) => postgres.start(),
  },
  'PostgreSQL hangs': {
    route: '/health/ready',
    make: (postgres) => postgres.pause(),
    mend: (postgres) => postgres.resume(),
  },
  'every backend terminated': { route: '/health/ready', make: terminate, mend: () => {} },
  'Redis stopped': { route: '/health', make: (_, redis) => redis.stop(), mend: (_, redis) => redis.start() },
  'Redis hangs': { route: '/health', make: (_, redis) => redis.pause(), mend: (_, redis) => redis.resume() },
}

async function terminate({ url }: Server): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()')
  await client.end()
}
