import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { answerTo, type Told } from './error-answers.ts'
import { redact } from './reasons.ts'
import { respond, respondAtLast } from './respond.ts'
import { faultsOf, type Invalid } from './validation.ts'

/** Answers whatever is thrown by the table of `error-answers.ts`, and logs what the client does not see. */
export default fp(
  async function errors(fastify) {
    fastify.setErrorHandler<unknown>((err, request, reply) => {
      const told = answerTo(err)
      note(request, reply, err, told)
      if (reply.raw.headersSent) return respondAtLast(reply, told)
      const faults = told.invalid ? faultsOf(err as Invalid, request) : undefined
      respond(reply, { ...told, ...(faults && { message: faults.message }) }, faults?.errors)
    })
  },
  { name: 'errors', fastify: '5.x' },
)

/** Beside the line of the request. */
export function note({ log }: FastifyRequest, { raw }: FastifyReply, err: unknown, told: Told): void {
  const { status, level, reason, isEnd, facts = { err } } = told
  if (reason) log.warn({ reason, err: redact(err) }, 'backend unavailable')
  else if (raw.destroyed && isEnd) log.info({ err }, 'request aborted')
  else if (level) log[level]({ status, ...facts }, messageOf(status))
}

function messageOf(status: number): string {
  if (status < 500) return 'request refused'
  return status === 502 || status === 504 ? 'upstream failed' : 'request failed'
}
