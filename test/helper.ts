/**
 * What the tests of a service need; `support/` has what the skeleton's own need beside.
 *
 *     const app = await build(t)                     the service in this process, started; app.inject('/notes'), app.db, app.logs
 *     const app = await build(t, { DATABASE_URL: await database(t) })   on a database of the test's own, migrated
 *     const service = new Service(t, env)            the service as a process: service.url(), service.logged('ready')
 *     await until(() => ask(), (answer) => holds)    waits for what no event tells, and fails with the last answer
 */
import type { FastifyPluginAsync } from 'fastify'
import type { Test } from 'tap'
import { type App, build as buildSkeleton } from './support/app.ts'

export { database, query, until } from './support/helper.ts'
export { Service } from './support/process.ts'

/** The whole service in this process, without the port. `routes` is registered behind its own. Closed at the end. */
export function build(t: Test, variables: NodeJS.ProcessEnv = {}, routes?: FastifyPluginAsync): Promise<App> {
  return buildSkeleton(t, variables, routes, { whole: true })
}
