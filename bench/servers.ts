import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { ownedDatabases } from '../dev/databases.ts'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { createMigrator } from '../src/migrations/migrator.ts'

const ROLE = 'bench'
/** Room for 32 replicas that all migrate. */
const MAX_CONNECTIONS = 400

/** A PostgreSQL and a Redis of the bench's own, and what they count. */
export class Servers {
  readonly #stack: AsyncDisposableStack
  readonly #admin: pg.Pool
  readonly #redis: Redis
  readonly #owner: string
  readonly redisUrl: string
  #databases = 0

  private constructor(stack: AsyncDisposableStack, admin: pg.Pool, redis: Redis, owner: string, redisUrl: string) {
    this.#stack = stack
    this.#admin = admin
    this.#redis = redis
    this.#owner = owner
    this.redisUrl = redisUrl
  }

  static async start(): Promise<Servers> {
    await using stack = new AsyncDisposableStack()
    const postgres = await startPostgres({
      settings: {
        max_connections: String(MAX_CONNECTIONS),
        shared_preload_libraries: 'pg_stat_statements',
        autovacuum: 'off',
      },
    })
    stack.defer(() => postgres.close())
    const redisServer = await startRedis()
    stack.defer(() => redisServer.close())
    const admin = new pg.Pool({ connectionString: postgres.url, max: 2 })
    stack.defer(() => admin.end())
    await admin.query('create extension pg_stat_statements')
    const [owner = ''] = await ownedDatabases(postgres.url, ROLE, [ROLE])
    const redis = new Redis(redisServer.url)
    stack.defer(async () => redis.disconnect())
    return new Servers(stack.move(), admin, redis, owner, redisServer.url)
  }

  /** The URL of a new, empty database; its owner is no superuser. */
  async emptyDatabase(): Promise<string> {
    const name = `bench_${++this.#databases}`
    await this.#admin.query(`create database ${name} owner ${ROLE}`)
    return Object.assign(new URL(this.#owner), { pathname: name }).href
  }

  /** The URL of a new database at this code's schema; `fill` puts rows in. */
  async migratedDatabase(fill?: (db: Kysely<never>) => Promise<void>): Promise<string> {
    const connectionString = await this.emptyDatabase()
    const dialect = new PostgresDialect({ pool: new pg.Pool({ connectionString, max: 1 }) })
    const db = new Kysely<never>({ dialect })
    try {
      const { error } = await createMigrator(db).migrateToLatest()
      if (error) throw error
      await fill?.(db)
    } finally {
      await db.destroy()
    }
    return connectionString
  }

  /** Statements that the database has run in all, and PINGs that Redis has answered. */
  async counts(database: string): Promise<{ statements: number; pings: number }> {
    const { rows } = await this.#admin.query<{ calls: string }>(
      `select coalesce(sum(calls), 0) as calls from pg_stat_statements
        where dbid = (select oid from pg_database where datname = $1)`,
      [nameOf(database)],
    )
    const [, pings] = /cmdstat_ping:calls=(\d+)/.exec(await this.#redis.info('commandstats')) ?? []
    return { statements: Number(rows[0]?.calls), pings: Number(pings ?? 0) }
  }

  /** Connections to the database at this moment. */
  async connections(database: string): Promise<number> {
    const { rows } = await this.#admin.query<{ n: string }>(
      'select count(*) as n from pg_stat_activity where datname = $1',
      [nameOf(database)],
    )
    return Number(rows[0]?.n)
  }

  /** The versions that run, as they say it. */
  async versions(): Promise<{ postgres: string; redis: string }> {
    const { rows } = await this.#admin.query<{ server_version: string }>('show server_version')
    const [, redis = ''] = /redis_version:(\S+)/.exec(await this.#redis.info('server')) ?? []
    return { postgres: rows[0]?.server_version ?? '', redis }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }
}

function nameOf(database: string): string {
  return new URL(database).pathname.slice(1)
}
