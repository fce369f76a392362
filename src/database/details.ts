import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { sql } from 'kysely'
import { type Static, Type } from 'typebox'
import { deadline } from '../core/deadline.ts'
import type { CheckResult, Results } from '../core/health/health.ts'
import { isOk, send } from '../core/health/routes.ts'
import { nullable, Result, route, unwell, well } from '../core/health/schemas.ts'
import { failure } from '../core/response-schemas.ts'

/** What the database says of itself. */
const Details = Type.Object({
  database: nullable('string'),
  version: nullable('string'),
  migrations: Type.Object({
    applied: nullable('integer'),
    pending: nullable('integer'),
    unknown: nullable('integer'),
    last: nullable('string'),
  }),
})

type Description = Static<typeof Details>

const Database = Type.Object({
  ...Result.properties,
  ...Details.properties,
  pool: Type.Object({ max: Type.Integer(), total: Type.Integer(), idle: Type.Integer(), waiting: Type.Integer() }),
})

const DatabaseDetails = route('getDatabaseHealth', 'The database in detail, for people', {
  200: well(Database, 'the database answers'),
  404: failure('HEALTH_DETAILS is not true: versions and names help attackers'),
  503: unwell(Database, 'the database does not answer'),
})

const UNKNOWN: Description = {
  database: null,
  version: null,
  migrations: { applied: null, pending: null, unknown: null, last: null },
}

/** `/health/db`, where `HEALTH_DETAILS` says so. */
const details: FastifyPluginAsyncTypebox = async (fastify) => {
  const { config, health, pg } = fastify
  if (!config.HEALTH_DETAILS) return
  const described = shared(() => describe(fastify))
  fastify.get('/health/db', DatabaseDetails, async (_, reply) => {
    const asked = performance.now()
    const results = await health.results()
    const leftMs = config.HEALTH_TIMEOUT_MS - (performance.now() - asked)
    const result = results.get('database') as CheckResult
    const details = isOk(result) ? await described(results, leftMs) : UNKNOWN
    const { options, totalCount: total, idleCount: idle, waitingCount: waiting } = pg.pool
    return send(reply, isOk(result), { ...result, ...details, pool: { max: options.max, total, idle, waiting } })
  })
}

export default details

/**
 * One description for all who see the same results of the checks, so that it is forgotten when they are. One at a time:
 * a busy pool has at most this one caller more. It may not give the description in time, and no answer waits longer.
 */
function shared(describe: () => Promise<Description>) {
  let seen: Results | undefined
  let isAsking = false
  let last: Promise<Description>
  return (results: Results, timeoutMs: number): Promise<Description> => {
    if (isAsking || seen === results) return last
    seen = results
    isAsking = true
    const late = Promise.withResolvers<Description>()
    const timer = deadline(timeoutMs, () => late.resolve(UNKNOWN))
    const asked = describe()
      .catch(() => UNKNOWN)
      .finally(() => {
        clearTimeout(timer)
        isAsking = false
        last = asked
      })
    last = Promise.race([asked, late.promise])
    return last
  }
}

async function describe({ db, migrations }: FastifyInstance): Promise<Description> {
  const { rows } = await sql<{ database: string; version: string }>`
    select current_database() as database, current_setting('server_version') as version`.execute(db)
  const { applied, pending, unknown } = await migrations.compare()
  return {
    ...(rows[0] as { database: string; version: string }),
    migrations: {
      applied: applied.length,
      pending: pending.length,
      unknown: unknown.length,
      last: applied.at(-1) ?? null,
    },
  }
}
