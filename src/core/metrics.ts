import type { FastifyInstance } from 'fastify'
import type { Reading } from './feature.ts'
import { output } from './logger.ts'

/** Of the log, and of the requests that no route got to see. */
export function metrics({ refusals }: FastifyInstance): Reading[] {
  return [
    ['log_lines_lost_total', 'Lines of the log that could not be written', [[{}, output.lost]]],
    [
      'http_server_refused_requests_total',
      'Requests answered before a route was looked for',
      Array.from(refusals, ([status, count]) => [{ http_response_status_code: String(status) }, count]),
    ],
  ]
}
