import t from 'tap'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'

eachIsOneProblem(t, [
  [
    { DATABASE_URL, REDIS_SENTINELS: 'one', REDIS_SENTINEL_NAME: 'main', REDIS_CLUSTER_NODES: '[::1]:7000' },
    'REDIS_SENTINELS and REDIS_CLUSTER_NODES are both set',
  ],
])
