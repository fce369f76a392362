/** lightship: a server of its own for probes, which says what the service has told it; no backend is asked. */
import { Redis } from 'ioredis'
import { createLightship } from 'lightship'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const redis = new Redis(process.env.REDIS_URL)

const lightship = await createLightship({
  detectKubernetes: false,
  port: Number(process.env.PORT),
  shutdownDelay: 0,
  terminate: () => process.exit(0),
})
lightship.registerShutdownHandler(async () => {
  redis.disconnect()
  await pool.end()
})
await Promise.all([pool.query('select 1'), redis.ping()])
lightship.signalReady()
