import type pg from 'pg'
import type { Feature } from '../core/feature.ts'

/** How to reach one server. `channelBinding`: what is wanted of it, which is `require` or less. */
export interface ServerOptions extends pg.ClientConfig {
  channelBinding?: string
}

/** `Client`: the class to use in place of `pg.Client`. `several`: it looks for the server that takes writes. */
export interface ConnectionOptions extends ServerOptions {
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
  client(servers: () => ServerOptions[], timeoutMs: number): typeof pg.Client
}
