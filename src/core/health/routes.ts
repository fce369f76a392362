import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { service } from '../service.ts'
import type { CheckResult, Results } from './health.ts'
import { Liveness, Readiness, Wellness } from './schemas.ts'

/** Liveness, readiness and health are routes of their own: a backend that is down must not restart the service. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  const { health, lifecycle } = fastify

  // Asks no backend, ever, and stays 200 while draining: a restart would cure neither.
  fastify.get('/health/live', Liveness, async (_, reply) => send(reply, true, { status: 'ok' }))

  /**
   * Answers with one string all probes of a second that see the same results and state: a storm serialises it once.
   * 200 if the status is `well`.
   */
  const shared = (well: string, render: (results: Results, uptimeSeconds: number) => { status: string }) => {
    let last: { ok: boolean; body: string; results: Results; phase: string; waitingFor: unknown; second: number }
    return async (_: FastifyRequest, reply: FastifyReply) => {
      const results = await health.results()
      const { phase, waitingFor } = lifecycle
      const second = Math.floor(process.uptime())
      const same = last?.results === results && last.second === second
      if (!same || last.phase !== phase || last.waitingFor !== waitingFor) {
        const answer = render(results, second)
        const ok = answer.status === well
        const body = reply.code(ok ? 200 : 503).serialize(answer) as string
        last = { ok, body, results, phase, waitingFor, second }
      }
      reply.header('content-type', 'application/json; charset=utf-8')
      return send(reply, last.ok, last.body)
    }
  }

  const ready = shared('ready', (results) => {
    const checks = [...lifecycle.tasks, ...Array.from(results, ([name, result]) => [name, isOk(result)] as const)]
    return {
      status: isReady(fastify, results) ? 'ready' : 'not_ready',
      checks: Object.fromEntries(checks.map(([name, ok]) => [name, ok ? 'passed' : 'failed'])),
      waitingFor: lifecycle.waitingFor,
      draining: lifecycle.phase === 'draining' || undefined,
    }
  })
  fastify.get('/health/ready', Readiness, ready)

  const overall = shared('healthy', (results, uptimeSeconds) => ({
    status: isReady(fastify, results) ? (results.values().every(isOk) ? 'healthy' : 'degraded') : 'unhealthy',
    service: service.name,
    version: service.version,
    uptimeSeconds,
    waitingFor: lifecycle.waitingFor,
    services: Object.fromEntries(results),
  }))
  fastify.get('/health', Wellness, overall)
}

export default health

/** 200 or 503, which no cache may keep. */
export function send<T>(reply: FastifyReply, ok: boolean, answer: T): T {
  reply.code(ok ? 200 : 503).header('cache-control', 'no-store')
  if (!ok) reply.header('retry-after', '1')
  return answer
}

/** Whether `/health/ready` says 200. */
export function isReady({ lifecycle }: FastifyInstance, results: Results): boolean {
  return lifecycle.phase === 'serving' && results.values().every((result) => isOk(result) || !result.required)
}

export function isOk({ status }: CheckResult): boolean {
  return status === 'ok'
}
