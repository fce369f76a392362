import path from 'node:path'
import type { Test } from 'tap'
import { ROOT, sharedDatabase } from '../support/helper.ts'
import type { Receiver } from '../support/otlp.ts'
import { Service } from '../support/process.ts'

/** `NODE_OPTIONS` for the routes of `routes.ts`. */
export const ROUTES = `--import=${path.join(ROOT, 'test/tracing/routes.ts')}`

/** The service as a process whose traces go to the receiver at once, with the routes of `routes.ts`. */
export async function traced(
  t: Test,
  receiver: Pick<Receiver, 'url'>,
  env: NodeJS.ProcessEnv = {},
  options: { source?: string } = {},
) {
  const service = new Service(
    t,
    {
      DATABASE_URL: await sharedDatabase(),
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_BSP_SCHEDULE_DELAY: '50',
      NODE_OPTIONS: ROUTES,
      ...env,
    },
    options,
  )
  // What counts for coverage is written by a process that ends by itself.
  if (options.source) {
    t.teardown(async () => {
      service.child.kill('SIGTERM')
      await service.exited
    })
  }
  const url = await service.url()
  await service.logged('ready')
  const ask = (path: string, init?: RequestInit) => fetch(url + path, init)
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    ask(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    })
  return { service, url, ask, post }
}
