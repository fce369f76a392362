import type pg from 'pg'
import type { Feature } from '../core/feature.ts'

/** `Client`: the class to use in place of `pg.Client`. `several`: it looks for the server that takes writes. */
export interface ConnectionOptions extends pg.ClientConfig {
  Client?: typeof pg.Client
  several?: boolean
}

/** What the connection is for. */
export type Use = 'service' | 'migration'

/** The callback of `connect()`, as pg types it. */
export type Connected = ((err: Error) => void) | ((err: null, client: pg.Client) => void)

export const POSTGRES_URL = { pattern: '^postgres(ql)?://' }

/** How several servers are one database. Without such a part a database has one server. */
export interface SeveralHosts extends Feature {
  /** The URL of each server that a URL names. */
  urls(url: string): string[]
  /** In place of `pg.Client`. `servers` are those of now. */
  client(servers: () => pg.ClientConfig[], timeoutMs: number): typeof pg.Client
}
