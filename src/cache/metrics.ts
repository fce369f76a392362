import type { FastifyInstance } from 'fastify'
import type { Reading } from '../core/feature.ts'

/** Lookups by cached function and result, once there was one, what failed, and how much Redis has not been told yet. */
export function metrics({ cache }: FastifyInstance): Reading[] {
  const values: Reading[2] = Array.from(cache.lookups).flatMap(([cache, counts]) =>
    Object.entries(counts).flatMap(([result, count]) => (count > 0 ? [[{ cache, result }, count]] : [])),
  )
  return [
    ['cache_lookups_total', 'Lookups of the cache by function and result, hit or miss', values],
    [
      'cache_failures_total',
      'What failed in the cache, by part: after a read the call was answered by its load',
      Array.from(cache.failures, ([part, count]) => [{ part }, count]),
    ],
    ['cache_invalidations_owed', 'Invalidations that Redis has not taken', [[{}, cache.owed]]],
  ]
}
