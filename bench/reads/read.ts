import { globSync } from 'node:fs'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Kysely } from 'kysely'

export interface Note {
  id: string
  text: string
}

/** One way to read a note by its key. */
export interface Read {
  route: string
  name: string
  /** Puts into the database what the read needs beside the notes. */
  prepare?(db: Kysely<never>): Promise<void>
  reader(app: FastifyInstance, db: Kysely<{ bench_notes: Note }>): (id: string) => Promise<Note | undefined>
  /** How many times as many reads as this route's must it do. */
  /** The same over `/kysely` where an answer of the database takes 1 ms more, in `latency.ts`; not there without it. */
  least?: number
  atLeast?: { times: number; route: string; what: string }
}

/** Each is a file of this folder whose name begins with `by-`: a feature brings its own, and takes it along. */
export const reads: Read[] = await Promise.all(
  globSync('by-*.{ts,mjs}', { cwd: import.meta.dirname })
    .sort()
    .map(async (file) => (await import(path.join(import.meta.dirname, file))).default),
)
