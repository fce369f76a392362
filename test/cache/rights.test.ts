import t from 'tap'
import { CACHE_RIGHTS, RIGHTS } from '../redis/rights.ts'
import { command } from '../support/redis-command.ts'
import { lines, ownRedis, replica } from './replica.ts'

t.test('the user that the documentation makes is enough for the cache', async (t) => {
  const redis = await ownRedis(t)
  await command(redis, 'ACL', 'SETUSER', 'service', ...RIGHTS, ...CACHE_RIGHTS)
  const url = Object.assign(new URL(redis.url), { username: 'service', password: 'password' }).href
  const one = await replica(t, url, { stale: 60 })
  await one.get('a')
  await one.get('a')
  t.equal(one.loads, 1)
  await one.invalidate('thing:a')
  await one.app.cache.clear('thing', 'a')
  await one.app.cache.clear('thing')
  await one.get('a')
  t.equal(one.loads, 2)
  // A full Redis takes the removal of a version in place of a new one.
  await command(redis, 'CONFIG', 'SET', 'maxmemory', 1)
  await one.invalidate('thing:a')
  t.equal(one.app.cache.owed, 0)
  t.notMatch(lines(one.app), [{ reason: 'auth' }])
  const refused = (await command(redis, 'ACL', 'LOG')) as string[][]
  t.same(
    refused.map((entry) => entry[entry.indexOf('object') + 1]).filter((object) => object !== 'client|setinfo'),
    [],
  )
})
