import type { FastifyInstance } from 'fastify'
import type { Reading } from './feature.ts'
import { output } from './logger.ts'

const PHASES = ['starting', 'serving', 'draining'] as const

/** Of the phase, the log, and the requests and connections that no route got to see. */
export function metrics({ lifecycle, limits, refusals }: FastifyInstance): Reading[] {
  return [
    [
      'lifecycle_phase',
      '1: the phase of the service, 0: the others',
      PHASES.map((phase) => [{ phase }, phase === lifecycle.phase ? 1 : 0]),
    ],
    ['log_lines_lost_total', 'Lines of the log that could not be written', [[{}, output.lost]]],
    [
      'http_server_refused_requests_total',
      'Requests answered before a route was looked for',
      Array.from(refusals, ([status, count]) => [{ http_response_status_code: String(status) }, count]),
    ],
    [
      'http_server_dropped_connections_total',
      'Connections closed at once, because all others were busy',
      [[{}, limits.connections.dropped]],
    ],
  ]
}
