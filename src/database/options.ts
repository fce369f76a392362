import type pg from 'pg'
import type { Feature } from '../core/feature.ts'

/** `Client`: for several servers, in place of `pg.Client`. */
export interface ConnectionOptions extends pg.ClientConfig {
  Client?: typeof pg.Client
}

export const POSTGRES_URL = { pattern: '^postgres(ql)?://' }

/** How several servers are one database. Without such a part a database has one server. */
export interface SeveralHosts extends Feature {
  /** The URL of each server that a URL names. */
  urls(url: string): string[]
  /** In place of `pg.Client`. */
  client(options: ConnectionOptions, servers: pg.ClientConfig[], timeoutMs: number): typeof pg.Client
}
