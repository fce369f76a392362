import { sql } from 'kysely'
import t from 'tap'
import { build, unstarted } from '../support/app.ts'
import { until } from '../support/helper.ts'
import { OWN, value } from '../support/metrics.ts'

const pool = (state: string) => ({ db_client_connection_pool_name: 'database', db_client_connection_state: state })

t.test('connections are counted by state, and who waits for one', async (t) => {
  const app = await build(t, { ...OWN, DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '60000' })
  t.equal(await value(app, 'db_client_connection_max'), 1)
  const client = await app.pg.connect()
  t.equal(await value(app, 'db_client_connection_count', pool('used')), 1)
  t.equal(await value(app, 'db_client_connection_count', pool('idle')), 0)

  const waiting = app.pg.connect()
  t.equal(await value(app, 'db_client_connection_pending_requests'), 1)
  client.release()
  ;(await waiting).release()
  t.equal(await value(app, 'db_client_connection_pending_requests'), 0)
  t.equal(await value(app, 'db_client_connection_count', pool('used')), 0)
  t.equal(await value(app, 'db_client_connection_count', pool('idle')), 1)
})

t.test('who gets no connection in time is counted', async (t) => {
  const app = await build(t, { ...OWN, DATABASE_POOL_MAX: '1', DATABASE_CONNECT_TIMEOUT_MS: '1000' })
  const timeouts = () => value(app, 'db_client_connection_timeouts_total')
  const client = await until(
    () => app.pg.connect().catch(() => undefined),
    (client) => client !== undefined,
  )
  const before = (await timeouts()) ?? 0
  await Promise.all([
    t.rejects(sql`select 1`.execute(app.db), { message: /timeout/ }),
    t.rejects(app.pg.query('select 1'), { message: /timeout/ }),
  ])
  t.equal(await timeouts(), before + 2)

  client?.release()
  t.match(await app.pg.query('select 1 as one'), { rows: [{ one: 1 }] })
  t.equal(await timeouts(), before + 2)
})

t.test('a database that refuses is no timeout', async (t) => {
  const app = await unstarted(t, { METRICS: 'true', DATABASE_URL: 'postgres://localhost:1/nowhere' })
  await t.rejects(app.pg.connect(), { code: 'ECONNREFUSED' })
  await t.rejects(app.pg.query('select 1'), { code: 'ECONNREFUSED' })
  t.equal(await value(app, 'db_client_connection_timeouts_total'), 0)
})
