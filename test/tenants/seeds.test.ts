import t from 'tap'
import { database, query, shell } from '../support/helper.ts'

t.test('seeds fill a development database, and twice changes nothing', async (t) => {
  const url = await database(t)
  const seeded = async () => {
    await shell('kysely', ['seed:run'], { DATABASE_URL: url })
    return query(url, 'select * from tenants order by slug')
  }
  const once = await seeded()
  t.match(once, [{ slug: 'acme' }, { slug: 'globex' }])
  t.same(await seeded(), once)
})
