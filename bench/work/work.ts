import { globSync } from 'node:fs'
import path from 'node:path'
import type { FastifyInstance, FastifySchema } from 'fastify'
import type { Kysely } from 'kysely'

export interface Tables {
  bench_notes: { id: string; text: string }
  bench_orders: { id: string; payload: unknown }
}

/** What a request does, in one of two ways. */
export interface Work {
  route: string
  name: string
  schema?: FastifySchema
  /** Is posted, if there is one. */
  body?: object
  /** The work of a request. */
  worker(app: FastifyInstance, db: Kysely<Tables>): (body: object) => Promise<unknown>
}

/** Each file but two of this folder holds some: a feature brings its own, and takes it along. */
export const works: Work[] = (
  await Promise.all(
    globSync('of-*.ts', { cwd: import.meta.dirname })
      .sort()
      .map(async (file) => (await import(path.join(import.meta.dirname, file))).default),
  )
).flat()
