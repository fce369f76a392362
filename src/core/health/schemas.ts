import { type TSchema, Type } from 'typebox'
import { REASONS } from '../reasons.ts'
import { described, NO_STORE, RETRY_AFTER } from '../response-schemas.ts'

const choice = <const T extends string[]>(...values: T) => Type.Enum(values, { type: 'string' })
export const nullable = <T extends 'string' | 'number' | 'integer'>(
  type: T,
  description = 'null when it is not known',
) => Type.Unsafe<(T extends 'string' ? string : number) | null>({ type: [type, 'null'], description })

const Live = Type.Object({ status: choice('ok') })

const WaitingFor = Type.Optional(Type.String({ description: 'the start task that the service waits for' }))

const Ready = Type.Object({
  status: choice('ready', 'not_ready'),
  checks: Type.Record(Type.String(), choice('passed', 'failed')),
  waitingFor: WaitingFor,
  draining: Type.Optional(Type.Boolean()),
})

export const Result = Type.Object({
  status: choice('ok', 'error'),
  latencyMs: nullable('number', 'null when the check failed'),
  reason: Type.Optional(choice(...REASONS)),
})

const Health = Type.Object({
  status: choice('healthy', 'degraded', 'unhealthy'),
  service: Type.String(),
  version: Type.String(),
  uptimeSeconds: Type.Integer(),
  waitingFor: WaitingFor,
  services: Type.Record(Type.String(), Result),
})

export const well = (answer: TSchema, meaning: string) => described(answer, meaning, NO_STORE)
export const unwell = (answer: TSchema, meaning: string) => described(answer, meaning, { ...NO_STORE, ...RETRY_AFTER })

export const route = (operationId: string, summary: string, response: Record<number, TSchema>) => ({
  schema: { operationId, summary, tags: ['health'], response },
  config: { duringStart: true, quiet: true },
})

export const Liveness = route('getLiveness', 'Liveness probe', { 200: well(Live, 'the process serves') })

export const Readiness = route('getReadiness', 'Readiness and startup probe, for load balancers', {
  200: well(Ready, 'route traffic here'),
  503: unwell(Ready, 'a required check fails, or the service starts or drains'),
})

export const Wellness = route('getHealth', 'Health of the service and its backends, for people and monitors', {
  200: well(Health, 'every backend answers'),
  503: unwell(
    Health,
    'degraded: an optional backend fails; unhealthy: a required one does, or the service starts or drains',
  ),
})
