import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type {} from '@fastify/otel'
import { SpanStatusCode } from '@opentelemetry/api'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { sql } from 'kysely'

/** What a request can do, below `/traced`. */
const routes: FastifyPluginAsync = async (fastify) => {
  const { db, redis } = fastify
  const selected = (value: unknown) => db.selectNoFrom(({ val }) => val(value).as('value')).executeTakeFirst()

  fastify.post<{ Params: { id: string }; Body: { secret: string; upstream: string } }>(
    '/traced/:id',
    async ({ body, log }) => {
      log.info('handled')
      await selected(body.secret)
      await redis.set('traced:hidden', body.secret, 'PX', 10_000)
      return { upstream: await (await fetch(`${body.upstream}/up?token=hunter2`)).json() }
    },
  )
  fastify.get<{ Querystring: { status: number; text: string } }>('/traced/fail', async ({ query }) => {
    const status = Number(query.status)
    throw Object.assign(new Error(query.text ?? 'failed'), status > 0 && { statusCode: status })
  })
  fastify.get('/traced/null', async () => {
    throw null
  })
  fastify.get('/traced/invalid', async () =>
    db.selectNoFrom(({ val, cast }) => cast(val('hunter2'), 'integer').as('n')).execute(),
  )
  fastify.get('/traced/wrong', async () => redis.call('WRONG', 'hunter2'))
  fastify.get('/traced/stream', async () =>
    Readable.from(
      (async function* () {
        yield 'first'
        await sleep(50)
        yield 'last'
      })(),
    ),
  )
  // In a transaction, and longer than a client waits.
  fastify.get('/traced/slow', async ({ log }) => {
    log.info('slow')
    await db
      .transaction()
      .execute((trx) => trx.selectNoFrom(({ fn, val }) => fn('pg_sleep', [val(1)]).as('s')).execute())
    return {}
  })
  fastify.get('/traced/told', async (request) => {
    const { span } = request.opentelemetry()
    span?.setStatus({ code: SpanStatusCode.ERROR, message: 'told' })
    span?.setAttributes({
      'client.token': 'hunter4',
      'client.cookies': ['hunter4'],
      'has.token': true,
      'all.numbers': [1, 2],
      'all.texts': ['token=hunter4'],
    })
    span?.setAttribute('cut', `${'x'.repeat(3_979)}postgres://me:hunter4@db`)
    span?.addEvent('password=hunter4', { secret: 'hunter4', text: 'token=hunter4' })
    span?.addLink({ context: { ...span.spanContext() }, attributes: { password: 'hunter4' } })
    return {}
  })
  fastify.get('/traced/long', async () => sql.raw(`select 1 -- ${Math.random()}${'x'.repeat(2 ** 20)}`).execute(db))
  fastify.get('/traced/health', async () => (await fastify.health.results()).size)
  fastify.get('/traced/late', async () => {
    await db.selectNoFrom(({ fn, val }) => fn('pg_sleep', [val(1.2)]).as('s')).execute()
    return {}
  })
  fastify.get('/traced/many', async () => Promise.all(Array.from({ length: 20 }, (_, n) => selected(n))))
}

subscribe('fastify.initialization', function onFirst(message) {
  unsubscribe('fastify.initialization', onFirst)
  const { fastify } = message as { fastify: FastifyInstance }
  queueMicrotask(() => fastify.register(fp(routes)))
})
