import { choice, duration, type Settings } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import plugin from './migrations.ts'

const settings = {
  MIGRATIONS: choice('run', ['run', 'check', 'off'], 'at boot: apply; exit 1 while any is pending; ask nothing'),
  MIGRATION_LOCK_TIMEOUT_MS: duration(5_000, 'DDL waits for a table lock at most', 1),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** Kysely's migrations, at boot and by the CLI. */
const migrations: Feature = {
  name: 'migrations',
  settings,
  reasons: { permanent: [/^MIGRATION_FAILED$/] },
  plugin,
  metrics: () => import('./metrics.ts'),
}

export default migrations
