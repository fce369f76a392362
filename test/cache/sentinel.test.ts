import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { group } from '../redis/sentinel/group.ts'
import { build } from '../support/app.ts'
import { until, within } from '../support/helper.ts'

t.test('the master that Sentinel named is killed: every call answers until there is another', async (t) => {
  const { master, replica, variables } = await group(t)
  const app = await build(t, variables)
  const cache = app.cache.define('thing', { ttl: 60 }, async (id: string) => id)
  let over = false
  await master.stop('immediate')
  const written = until(
    () => app.redis.info('server').catch(() => ''),
    (info) => info.includes(`tcp_port:${replica.port}`),
  ).finally(() => {
    over = true
  })
  for (let call = 0; !over; call++) {
    t.equal(await within(cache.thing(String(call)), () => call), String(call))
    await sleep(50)
  }
  await written
})
