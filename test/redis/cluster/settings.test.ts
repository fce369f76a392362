import type { Cluster } from 'ioredis'
import t, { type Test } from 'tap'
import cluster from '../../../src/redis/cluster/index.ts'
import { configure } from '../../support/app.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'

const LISTENER = { onLost() {}, onFailed() {} }

async function client(t: Test, variables: NodeJS.ProcessEnv) {
  return cluster.client(await configure(t, { DATABASE_URL, ...variables }), LISTENER)?.redis as Cluster
}

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'one:port' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'user:hunter2@one' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [
    { DATABASE_URL, REDIS_CLUSTER_NODES: 'one', REDIS_URL: 'redis://:hunter2@host/1' },
    'REDIS_URL names a database, of which a Redis Cluster has none',
  ],
])

t.test('a Cluster takes user, password and TLS from REDIS_URL', async (t) => {
  const variables = { REDIS_CLUSTER_NODES: 'one,two:7000' }
  const plain = await client(t, { ...variables, REDIS_URL: 'redis://by-cluster/0' })
  t.match(plain.options.redisOptions, { username: undefined, password: undefined, tls: undefined })
  const full = await client(t, { ...variables, REDIS_URL: 'rediss://me:a%2Fb@by-cluster' })
  t.match(full.options.redisOptions, { username: 'me', password: 'a/b', tls: {} })
  t.ok(full.isCluster)
})
