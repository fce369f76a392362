/** @godaddy/terminus around a plain HTTP server. */
import http from 'node:http'
import terminus from '@godaddy/terminus'
import { Redis } from 'ioredis'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const redis = new Redis(process.env.REDIS_URL)

const server = http.createServer((_request, response) => response.end('Hello, World!'))
terminus.createTerminus(server, {
  healthChecks: { '/health': () => Promise.all([pool.query('select 1'), redis.ping()]) },
  onSignal: () => Promise.all([pool.end(), redis.quit()]),
})
server.listen(Number(process.env.PORT), '127.0.0.1')
