import t from 'tap'
import { database, shell, until } from '../../support/helper.ts'

t.test('kysely finds the host that takes writes', async (t) => {
  const url = await database(t)
  const DATABASE_URL = url.replace('@', '@127.0.0.1:1,')
  // It fails where a host is not asked within the time of a health check: on a machine that is busy enough.
  const output = await until(
    () => shell('kysely', ['migrate:list'], { DATABASE_URL }).catch((err) => String(err.stderr)),
    (output) => !output.includes('ECONNREFUSED'),
  )
  t.match(output, /✓.* 20261101000000_base_structure/)
})
