/** Docker's health check, in an image without curl: asks the service beside it, exits 0 on 200 and 1 on all else. */
const [path = '/health/live'] = process.argv.slice(2)

/** Longer than any answer of a health route takes, shorter than the time Docker gives the check. */
const TIMEOUT_MS = 2_000

// An import of node:http loads undici too, which takes longer than all the rest.
const { Agent, get } = process.getBuiltinModule('node:http')

const { HOST = '', PORT } = process.env
// A service that listens on every address does on this one, also without IPv6.
const host = ['', '::', '0.0.0.0'].includes(HOST) ? '127.0.0.1' : HOST
// An agent of its own knows no proxy: NODE_USE_ENV_PROXY gives the global one HTTP_PROXY.
const options = { host, port: PORT || 3000, path, timeout: TIMEOUT_MS, agent: new Agent() }

get(options, ({ statusCode }) => leave(statusCode === 200))
  .on('timeout', () => leave(false))
  .on('error', () => leave(false))

function leave(healthy: boolean): never {
  process.exit(healthy ? 0 : 1)
}
