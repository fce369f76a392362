import fastify, { type FastifyPluginAsync } from 'fastify'
import type { Test } from 'tap'
import service, { features } from '../../src/app.ts'
import env, { settingsOf } from '../../src/core/config/env.ts'
import type { Config } from '../../src/core/config/settings.ts'
import { createFastify } from '../../src/core/requests.ts'
import { OWN } from '../env.ts'
import {
  CHECKS,
  database,
  ENV,
  type LogLine,
  SKELETON_READINESS,
  START_TASKS,
  sharedDatabase,
  until,
} from './helper.ts'

/** Every setting of the service, by name. */
export const SETTINGS = settingsOf(features).properties

/** What the env plugin makes of these variables. */
export async function configure(t: Test, variables: NodeJS.ProcessEnv): Promise<Config> {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(env, { features, env: { ...OWN, ...variables } })
  return app.config
}

export type App = ReturnType<typeof createFastify> & { logs: LogLine[] }

interface Options {
  /** A plugin of the test's own, registered behind the others as a service's would be. */
  routes?: FastifyPluginAsync | undefined
  /** Migrations of the test's own, for a database of its own. */
  folder?: string
  /** With the service's own health checks and start tasks, of which the skeleton's tests know nothing. */
  whole?: boolean
}

/** The service in this process, without the port, started. Closed at the end of the test. */
export async function build(
  t: Test,
  variables: NodeJS.ProcessEnv = {},
  routes?: FastifyPluginAsync,
  options: Options = {},
): Promise<App> {
  const app = await unstarted(t, variables, { routes, ...options })
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

/** The same before its start tasks. */
export async function unstarted(
  t: Test,
  variables: NodeJS.ProcessEnv = {},
  { routes, folder, whole = false }: Options = {},
): Promise<App> {
  const logs: LogLine[] = []
  const app = createFastify({ stream: { write: (line) => logs.push(JSON.parse(line)) } })
  t.teardown(() => app.close())
  const DATABASE_URL = variables['DATABASE_URL'] ?? (await (folder ? database(t) : sharedDatabase()))
  // Not awaited: Fastify would take it for all that there is, and call the onClose hooks of `routes` ahead of preClose.
  app.register(service, {
    ...(folder && { folder }),
    env: { ...ENV, ...(!whole && SKELETON_READINESS), LOG_LEVEL: 'debug', DATABASE_URL, ...variables },
  })
  app.register(async () => {
    if (whole) return
    const { health, lifecycle } = app
    for (const name of health.checks.keys()) if (!CHECKS.includes(name)) health.checks.delete(name)
    for (const name of lifecycle.runs.keys()) {
      if (!START_TASKS.includes(name)) for (const tasks of [lifecycle.runs, lifecycle.tasks]) tasks.delete(name)
    }
  })
  if (routes) app.register(routes)
  await app.ready()
  return Object.assign(app, { logs })
}
