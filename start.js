/**
 * `npm start`: the build, if it is one of the source as it is, else the source. In this process, so that signals reach
 * the service. JavaScript: with Node's loader for TypeScript the build would start a fifth slower.
 */
import './dev/node-version.js'
import { readFileSync } from 'node:fs'
import module from 'node:module'
import path from 'node:path'
import { fingerprint } from './dev/fingerprint.js'

const DIST = path.join(import.meta.dirname, 'dist')

/** Undefined without a build. */
function built() {
  try {
    return readFileSync(path.join(DIST, 'fingerprint'), 'utf8')
  } catch {
    return undefined
  }
}

const build = built()
if (build !== undefined && build === fingerprint(import.meta.dirname)) {
  module.enableCompileCache(path.join(DIST, 'cache'))
  await import(path.join(DIST, 'src/server.js'))
} else {
  if (build !== undefined) console.error('dist/ was built from another source: running the source (npm run build)')
  await import('./src/server.ts')
}
