/** `npm run types`: src/database/types.ts from the migrated database, of `.env` or of a running `npm run dev`. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

const ROOT = path.join(import.meta.dirname, '..')
const CODEGEN = path.join(ROOT, 'node_modules/kysely-codegen/dist/cli/bin.js')

for (const name of ['.env', '.local/dev.env']) {
  const file = path.join(ROOT, name)
  if (existsSync(file)) process.loadEnvFile(file)
}
if (!process.env['DATABASE_URL']) {
  console.error('There is no DATABASE_URL: start npm run dev, or name a database that is migrated')
  process.exit(1)
}
// What an extension brings is not the service's.
const tables = ['--dialect', 'postgres', '--exclude-pattern', '*timescaledb_*.*', '--out-file', 'src/database/types.ts']
const { status } = spawnSync(process.execPath, [CODEGEN, ...tables, ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
