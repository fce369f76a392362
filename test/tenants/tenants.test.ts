import t from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { type App, build } from '../support/app.ts'
import { query } from '../support/helper.ts'

const warnings = ({ logs }: App) => logs.filter(({ level, msg }) => level === 40 && msg.includes('row-level security'))

t.test('a role that bypasses row-level security gets one warning at boot, which says what to do', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const superuser = await build(t, { DATABASE_URL: postgres.url })
  t.match(warnings(superuser), [{ role: 'postgres', msg: /NOSUPERUSER NOBYPASSRLS.*DATABASE_MIGRATION_URL/ }])
  t.equal(warnings(superuser).length, 1)

  await query(postgres.url, "create role bypassing login bypassrls password 'secret'")
  const url = Object.assign(new URL(postgres.url), { username: 'bypassing', password: 'secret' }).href
  t.match(warnings(await build(t, { DATABASE_URL: url, MIGRATIONS: 'off' })), [{ role: 'bypassing' }])
})

t.test('the role of the development database gets none', async (t) => {
  const app = await build(t)
  t.same(warnings(app), [])
  t.notOk('tenants' in (await app.inject('/health/ready')).json().checks, 'and readiness does not show the look')
})
