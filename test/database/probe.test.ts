import t from 'tap'
import { connectionOptions } from '../../src/database/connection.ts'
import { Probe } from '../../src/database/probe.ts'
import { configure } from '../support/app.ts'
import { database, query } from '../support/helper.ts'
import { TcpProxy } from '../support/tools.ts'

const patience = () => AbortSignal.timeout(60_000)

t.test('a connection that is lost while it is asked is no lost database', async (t) => {
  const proxy = await TcpProxy.start(t, await database(t))
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL: proxy.url })), () => {})
  t.teardown(() => probe.close())
  await probe.check(patience())
  proxy.swallow()
  const checked = probe.check(patience())
  await proxy.cut()
  await checked
  t.pass('asked again on a new one')
})

t.test('a database that takes no writes is one that does not serve', async (t) => {
  const DATABASE_URL = await database(t)
  await query(
    DATABASE_URL,
    `alter database ${new URL(DATABASE_URL).pathname.slice(1)} set default_transaction_read_only = on`,
  )
  const probe = new Probe(connectionOptions(await configure(t, { DATABASE_URL })), () => {})
  t.teardown(() => probe.close())
  await t.rejects(probe.check(patience()), { code: '25006', message: 'The database is read-only' })
})
