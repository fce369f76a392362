// Loaded ahead of the commands of package.json that need what development alone installs.
import './node-version.js'
import { existsSync } from 'node:fs'

if (!existsSync(new URL('../node_modules/tap/package.json', import.meta.url))) {
  console.error(
    'The development dependencies are not installed (NODE_ENV=production leaves them out): npm ci --include=dev',
  )
  process.exit(1)
}
