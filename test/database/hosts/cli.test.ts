import t from 'tap'
import { database, shell } from '../../support/helper.ts'

t.test('kysely finds the host that takes writes', async (t) => {
  const url = await database(t)
  const output = await shell('kysely', ['migrate:list'], { DATABASE_URL: url.replace('@', '@127.0.0.1:1,') })
  t.match(output, /✓.* 20261101000000_base_structure/)
})
