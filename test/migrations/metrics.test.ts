import t from 'tap'
import { build } from '../support/app.ts'
import { database, MIGRATIONS } from '../support/helper.ts'
import { value } from '../support/metrics.ts'

t.test('migrations are what boot left', async (t) => {
  const app = await build(t, { METRICS: 'true', DATABASE_URL: await database(t, { empty: true }) })
  t.equal(await value(app, 'migrations', { state: 'applied' }), MIGRATIONS.length)
  t.equal(await value(app, 'migrations', { state: 'pending' }), 0)
  t.equal(await value(app, 'migrations', { state: 'unknown' }), 0)
})
