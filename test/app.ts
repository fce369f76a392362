import fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import type { Test } from 'tap'
import service from '../src/app.ts'
import type { Config } from '../src/config.ts'
import { logger } from '../src/logger.ts'
import env from '../src/plugins/env.ts'
import { requestOptions } from '../src/plugins/requests.ts'
import { database, ENV, type LogLine, sharedDatabase, until } from './helper.ts'

/** What the env plugin makes of these variables. */
export async function configure(t: Test, variables: NodeJS.ProcessEnv): Promise<Config> {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(env, { env: variables })
  return app.config
}

export type App = FastifyInstance & { logs: LogLine[] }

/**
 * The service in this process, without the port, started. Closed at the end of the test.
 * `routes` is a plugin of the test's own, registered behind the others as a template's user would.
 */
export async function build(t: Test, variables: NodeJS.ProcessEnv = {}, routes?: FastifyPluginAsync): Promise<App> {
  const app = await unstarted(t, variables, { routes })
  await app.lifecycle.start()
  // Boot does not wait for Redis. One of the test's own may be down.
  if (!('REDIS_URL' in variables)) await connected(app)
  return app
}

/** Waits until the service has found its Redis. */
export async function connected(app: App): Promise<App> {
  await until(
    async () => app.redis.status,
    (status) => status === 'ready',
  )
  return app
}

/** The same before its start tasks. `folder`: migrations of the test's own, for a database of its own. */
export async function unstarted(
  t: Test,
  variables: NodeJS.ProcessEnv = {},
  { routes, folder }: { routes?: FastifyPluginAsync | undefined; folder?: string } = {},
): Promise<App> {
  const logs: LogLine[] = []
  const stream = { write: (line: string) => logs.push(JSON.parse(line)) }
  const app: FastifyInstance = fastify({ logger: { ...logger, stream }, ...requestOptions })
  t.teardown(() => app.close())
  await app.register(service, {
    ...(folder && { folder }),
    env: {
      ...ENV,
      LOG_LEVEL: 'debug',
      DATABASE_URL: variables['DATABASE_URL'] ?? (await (folder ? database(t) : sharedDatabase())),
      ...variables,
    },
  })
  if (routes) await app.register(routes)
  await app.ready()
  return Object.assign(app, { logs })
}
