import type { FastifyInstance } from 'fastify'
import type { Reading } from '../core/feature.ts'

/** Lookups by cached function and result, once there was one, and how much Redis has not been told yet. */
export function metrics({ cache }: FastifyInstance): Reading[] {
  const values: Reading[2] = Array.from(cache.lookups).flatMap(([cache, counts]) =>
    Object.entries(counts).flatMap(([result, count]) => (count > 0 ? [[{ cache, result }, count]] : [])),
  )
  return [
    ['cache_lookups_total', 'Lookups of the cache by function and result, hit or miss', values],
    ['cache_invalidations_owed', 'Invalidations that Redis has not taken', [[{}, cache.owed]]],
  ]
}
