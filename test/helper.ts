/**
 * What the tests of a service need, and all of it. Yours go to `test/routes/` or to a folder named as your feature;
 * the other folders are the skeleton's, and `support/` has what those need beside.
 *
 *     const DATABASE_URL = await database(t)                      a database of the test's own, migrated
 *     const app = await build(t, { DATABASE_URL })                the service in this process, started: app.db, app.logs
 *     const call = caller(app, { authorization: 'Bearer …' })     asks it with these headers
 *     await call('POST', '/notes', { text: 'hello' })             answers like app.inject(): statusCode, json()
 *     const note = factory(app.db, 'notes', (n) => ({ text: `note ${n}` }))
 *     const row = await note({ text: 'mine' })                    inserts a row; what is not named is the factory's
 *     const service = new Service(t, { DATABASE_URL })            the service as a process: url(), logged('ready'), exited
 *     await until(() => ask(), (answer) => holds)                 for what no event tells; fails with the last answer
 *     await query(DATABASE_URL, 'select …')                       rows, on a connection of its own
 *
 * A feature's own helpers lie with its tests, as `helper.ts`. Settings that every test needs: `env.ts`.
 */
import type { FastifyPluginAsync, HTTPMethods, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Insertable, Kysely, Selectable } from 'kysely'
import type { Test } from 'tap'
import type { DB } from '../src/database/types.ts'
import { type App, build as buildSkeleton } from './support/app.ts'
import { Service as SkeletonService } from './support/process.ts'

export type { App } from './support/app.ts'
export { database, query, until } from './support/helper.ts'

/** The whole service in this process, without the port. `routes` is registered behind its own. Closed at the end. */
export function build(t: Test, variables: NodeJS.ProcessEnv = {}, routes?: FastifyPluginAsync): Promise<App> {
  return buildSkeleton(t, variables, routes, { whole: true })
}

/** The whole service as a process, of the build. Killed at the end of the test if it still runs. */
export class Service extends SkeletonService {
  constructor(t: Test, variables: NodeJS.ProcessEnv = {}) {
    super(t, variables, { whole: true })
  }
}

/** Asks the service, each time with these headers, such as a token. */
export function caller(app: App, headers: Record<string, string> = {}) {
  return (method: HTTPMethods, url: string, body?: InjectOptions['body']): Promise<LightMyRequestResponse> =>
    app.inject({ method, url, headers, ...(body === undefined ? {} : { body }) })
}

/**
 * Inserts rows of one table, by the pool or a transaction. `defaults` has the number of the row, counted from 1, to make
 * unique what must be.
 */
export function factory<T extends keyof DB & string>(
  db: Kysely<DB>,
  table: T,
  defaults: (n: number) => Insertable<DB[T]>,
): (values?: Partial<Insertable<DB[T]>>) => Promise<Selectable<DB[T]>> {
  let made = 0
  // Of a table that is a parameter Kysely cannot tell the columns.
  const any = db as unknown as Kysely<Record<string, Record<string, unknown>>>
  return async (values) => {
    const row = { ...defaults(++made), ...values }
    return (await any.insertInto(table).values(row).returningAll().executeTakeFirstOrThrow()) as Selectable<DB[T]>
  }
}
