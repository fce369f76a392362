/**
 * `npm start`: the build, if it is one of the source as it is, else the source. In this process, so that signals reach
 * the service. JavaScript: with Node's loader for TypeScript the build would start a fifth slower.
 *
 * The script of package.json is `exec node … || node …`, because npm signals the shell alone, and dash passes nothing on
 * (npm/cli issue 6547). Windows has no `exec`, and runs what follows.
 */
import './dev/node-version.js'
import path from 'node:path'
import { fingerprint } from './dev/fingerprint.js'

/** How soon an npm that was killed is noticed. */
const PARENT_CHECK_MS = 250

process.env['NODE_ENV'] ||= 'production'

// Nobody could tell it to leave any more, and it would keep the port.
if (process.env['npm_lifecycle_event']) {
  const parent = process.ppid
  const check = setInterval(() => {
    // Until somebody listens.
    if (process.ppid !== parent && process.emit('orphaned')) clearInterval(check)
  }, PARENT_CHECK_MS).unref()
}

/** Undefined without a build. */
function built() {
  try {
    return process.getBuiltinModule('node:fs').readFileSync(path.join(import.meta.dirname, 'dist/fingerprint'), 'utf8')
  } catch {
    return undefined
  }
}

const build = built()
if (build !== undefined && build === fingerprint(import.meta.dirname)) {
  await import('./serve.js')
} else {
  if (build !== undefined) console.error('dist/ was built from another source: running the source (npm run build)')
  await import('./src/server.ts')
}
