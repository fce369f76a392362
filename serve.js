/**
 * What the image starts, and `npm start` of a build that fits: the build; or the source, where a module is to be loaded
 * before it. Agents that trace (OpenTelemetry's, Datadog's, New Relic's, Sentry's) are loaded so, and hook the modules that
 * are imported after them. A bundle imports none (open-telemetry/opentelemetry-js issue 4174).
 */
import module from 'node:module'
import path from 'node:path'

const DIST = path.join(import.meta.dirname, 'dist')
/** With or without quotes around it or its value. A data: URL is no agent. A module that is none costs the boot alone. */
const PRELOAD = /(?<=^|[\s"])(-r|--require|--import|--(experimental[-_])?loader)(?="?[=\s]+(?!"?data:)\S)/

const preload = [...process.execArgv, process.env['NODE_OPTIONS']].join(' ').match(PRELOAD)?.[0]
if (preload) {
  console.error(`a module is loaded first (${preload}): running the source, whose modules it can hook`)
  // Where it can be written. The build has better, of its own.
  module.enableCompileCache(path.join(DIST, 'cache'))
}
await import(preload ? './src/server.ts' : path.join(DIST, 'src/server.js'))
