import t from 'tap'
import { startRedis } from '../../dev/redis.ts'
import { build, connected } from '../support/app.ts'
import { command } from '../support/redis-command.ts'
import { RIGHTS } from './rights.ts'

t.test('the user that the documentation makes is enough', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.close())
  await command(redis, 'ACL', 'SETUSER', 'service', ...RIGHTS)
  const REDIS_URL = Object.assign(new URL(redis.url), {
    username: 'service',
    password: 'password',
    pathname: '/3',
  }).href
  const app = await connected(await build(t, { REDIS_URL }))
  t.equal((await app.inject('/health')).json().status, 'healthy')
  await command(redis, 'REPLICAOF', '127.0.0.1', '1')
  t.match((await app.inject('/health')).json(), { services: { redis: { reason: 'readonly' } } })
  await command(redis, 'REPLICAOF', 'NO', 'ONE')
  const refused = (await command(redis, 'ACL', 'LOG')) as string[][]
  t.same(
    refused.map((entry) => entry[entry.indexOf('object') + 1]).filter((object) => object !== 'client|setinfo'),
    [],
  )
})
