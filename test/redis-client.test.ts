import type { Cluster, Redis } from 'ioredis'
import t from 'tap'
import { redisClient } from '../src/redis-client.ts'
import { configure } from './app.ts'

const DATABASE_URL = 'postgres://user@localhost/app'

async function client(t: Parameters<typeof configure>[0], variables: NodeJS.ProcessEnv) {
  const config = await configure(t, { DATABASE_URL, ...variables })
  return redisClient(config)
}

t.test('Sentinel takes user, password, database and TLS from REDIS_URL, and has a password of its own', async (t) => {
  const variables = { REDIS_SENTINELS: 'one,[::1]:5000', REDIS_SENTINEL_NAME: 'main' }
  const plain = (await client(t, { ...variables, REDIS_URL: 'redis://by-sentinel' })) as Redis
  t.match(plain.options, {
    sentinels: [
      { host: 'one', port: 26_379 },
      { host: '::1', port: 5_000 },
    ],
    name: 'main',
    sentinelPassword: undefined,
    sentinelTLS: undefined,
  })
  const full = { REDIS_URL: 'rediss://me:a%2Fb@by-sentinel/3', REDIS_SENTINEL_PASSWORD: 'c' }
  t.match(((await client(t, { ...variables, ...full })) as Redis).options, {
    username: 'me',
    password: 'a/b',
    db: 3,
    tls: true,
    sentinelPassword: 'c',
    enableTLSForSentinelMode: true,
    sentinelTLS: {},
  })
})

t.test('a Cluster takes user, password and TLS from REDIS_URL', async (t) => {
  const variables = { REDIS_CLUSTER_NODES: 'one,two:7000' }
  const plain = (await client(t, { ...variables, REDIS_URL: 'redis://by-cluster/0' })) as Cluster
  t.match(plain.options.redisOptions, { username: undefined, password: undefined, tls: undefined })
  const full = (await client(t, { ...variables, REDIS_URL: 'rediss://me:a%2Fb@by-cluster' })) as Cluster
  t.match(full.options.redisOptions, { username: 'me', password: 'a/b', tls: {} })
  t.ok(full.isCluster)
})
