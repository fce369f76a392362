import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { reasonOf } from '../../../src/core/reasons.ts'
import sentinel from '../../../src/redis/sentinel/index.ts'
import { configure } from '../../support/app.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'

const LISTENER = { onLost() {}, onFailed() {} }

async function client(t: Test, variables: NodeJS.ProcessEnv) {
  return sentinel.client(await configure(t, { DATABASE_URL, ...variables }), LISTENER)?.redis as Redis
}

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_SENTINELS: 'one,two' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [{ DATABASE_URL, REDIS_SENTINEL_NAME: 'main' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [
    { DATABASE_URL, REDIS_SENTINELS: 'one:26379,', REDIS_SENTINEL_NAME: 'main' },
    'REDIS_SENTINELS is not a list of host:port',
  ],
])

t.test('Sentinel takes user, password, database and TLS from REDIS_URL, and has a password of its own', async (t) => {
  const variables = { REDIS_SENTINELS: 'one,[::1]:5000', REDIS_SENTINEL_NAME: 'main' }
  const plain = await client(t, { ...variables, REDIS_URL: 'redis://by-sentinel' })
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
  t.match((await client(t, { ...variables, ...full })).options, {
    username: 'me',
    password: 'a/b',
    db: 3,
    tls: true,
    sentinelPassword: 'c',
    enableTLSForSentinelMode: true,
    sentinelTLS: {},
  })
})

t.test('sentinels that refuse are told apart from those that cannot be reached', async (t) => {
  const all = 'All sentinels are unreachable. Retrying from scratch after 50ms. Last error: '
  t.equal(reasonOf(new Error(`${all}Connection is closed.`)), 'refused')
  t.equal(reasonOf(new Error(`${all}connect EHOSTUNREACH`)), 'unreachable')
})
