import t from 'tap'
import { commandConfig } from '../../src/migrations/command-config.ts'
import { DATABASE_URL } from '../support/settings.ts'

t.test('a command reads the settings of the database alone', async (t) => {
  const config = await commandConfig({ DATABASE_URL, PORT: 'x', REDIS_URL: 'x' })
  t.match(config, { DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: 5_000, HEALTH_TIMEOUT_MS: 800, PORT: undefined })
  await t.rejects(commandConfig({ DATABASE_URL, MIGRATION_LOCK_TIMEOUT_MS: '1e3' }), {
    message: /^configuration: MIGRATION_LOCK_TIMEOUT_MS must be/,
  })
})
