import t from 'tap'
import { database, shell } from '../support/helper.ts'

t.test('the types of the tables are those of the migrated database', async (t) => {
  const DATABASE_URL = await database(t)
  await t.resolves(shell('npm', ['run', 'types', '--', '--verify'], { DATABASE_URL }))
})
