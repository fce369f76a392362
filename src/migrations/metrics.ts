import type { FastifyInstance } from 'fastify'
import type { Reading } from '../core/feature.ts'

/** Migrations by state, as boot left them. */
export function metrics({ migrations }: FastifyInstance): Reading[] {
  const values: Reading[2] = Object.entries(migrations.state ?? {}).map(([state, names]) => [{ state }, names.length])
  return [['migrations', 'Migrations by state, as boot left them', values]]
}
