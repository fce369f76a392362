import { type Kysely, type QueryExecutorProvider, sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import { MigrationError } from './errors.ts'

/*
 * Kysely's two tables lie in the service's own schema, and every name of them is qualified, because those of another
 * service may lie further down the search_path, or in another schema that Kysely would find (its issue 1537).
 */

/**
 * The schema that was asked for, else the first one of the role's search_path.
 * Throws MigrationError when that leads to none.
 */
export async function schemaOf(db: QueryExecutorProvider, wanted?: string): Promise<string> {
  const { rows } = await sql<{ schema: string | null; role: string; path: string }>`
    select coalesce(${wanted ?? null}::text, current_schema()) as schema,
           current_user as role, current_setting('search_path') as path`.execute(db)
  const { schema, role, path } = rows[0] as (typeof rows)[0]
  if (schema !== null) return schema
  throw new MigrationError(
    `role ${role} may use no schema of its search_path (${path}): create one, and grant usage on it`,
  )
}

/** The names of the applied migrations, in their order. Asks for the table first, to leave no error in the server's log. */
export async function appliedMigrations(db: QueryExecutorProvider, schema: string): Promise<string[]> {
  if (!(await exists(db, schema))) return []
  const { rows } = await sql<{ name: string }>`
    select name from ${migrationTable(schema)} order by timestamp, name`.execute(db)
  return rows.map(({ name }) => name)
}

export function migrationTable(schema: string) {
  return sql.id(schema, 'kysely_migration')
}

/** A condition on pg_class: Kysely's two tables. */
const areTables = (schema: string) => sql`
  relnamespace = to_regnamespace(quote_ident(${schema})) and relname in ('kysely_migration', 'kysely_migration_lock')`

async function exists(db: QueryExecutorProvider, schema: string): Promise<boolean> {
  const { rows } =
    await sql`select where to_regclass(quote_ident(${schema}) || '.kysely_migration') is not null`.execute(db)
  return rows.length > 0
}

/**
 * Makes what is missing, the schema included. Then no role but the owner can write to these tables, whatever the default
 * privileges gave: a role that serves could make every boot fail, or have a migration left out.
 * Throws MigrationError that says what to grant.
 */
export async function prepareTables(db: Kysely<unknown>, schema: string): Promise<void> {
  try {
    const { rows } = await sql`select where to_regnamespace(quote_ident(${schema})) is null`.execute(db)
    if (rows.length > 0) await sql`create schema ${sql.id(schema)}`.execute(db)
    await refuseElsewhere(db, schema)
    if (!(await exists(db, schema))) await makeTables(db, schema)
    await refuseOtherOwner(db, schema)
    await restrictTables(db, schema)
  } catch (err) {
    throw (err as { code?: string }).code === '42501' ? await whatToGrant(db, schema, err) : err
  }
}

/**
 * Throws MigrationError for a connection that may use the schema and does not look there first: a pooler that is told to
 * ignore the search_path of a connection says nothing of it.
 */
export async function refuseElsewhere(db: QueryExecutorProvider, schema: string): Promise<void> {
  const { rows } = await sql<{ role: string; path: string }>`
    select current_user as role, current_setting('search_path') as path
     where has_schema_privilege(to_regnamespace(quote_ident(${schema})), 'usage')
       and current_schema() is distinct from ${schema}`.execute(db)
  for (const { role, path } of rows) {
    throw new MigrationError(
      `DATABASE_SCHEMA is ${schema}, and the search_path ${path}: a pooler ignores what the connection asks for. ` +
        `Leave DATABASE_SCHEMA unset, and: alter role ${role} set search_path = ${schema}, public`,
    )
  }
}

/** Throws MigrationError for tables of another role, to which this one cannot write. */
async function refuseOtherOwner(db: QueryExecutorProvider, schema: string): Promise<void> {
  const { rows } = await sql<{ name: string; owner: string; role: string }>`
    select relname as name, pg_get_userbyid(relowner) as owner, current_user as role from pg_class
     where ${areTables(schema)} and not has_table_privilege(oid, 'insert')`.execute(db)
  for (const { name, owner, role } of rows) {
    throw new MigrationError(
      `role ${role} may not write ${schema}.${name}, which ${owner} owns. It has to own what it migrates: ` +
        `docs/database.md, "Roles", has the statements`,
    )
  }
}

/** Kysely makes them for no migrations too. */
async function makeTables(db: Kysely<unknown>, migrationTableSchema: string): Promise<void> {
  const provider = { getMigrations: async () => ({}) }
  const { error } = await new Migrator({ db, provider, migrationTableSchema }).migrateToLatest()
  if (error) throw error
}

/** Takes every right but reading from all roles but the owner; lets every role read what is applied. */
async function restrictTables(db: Kysely<unknown>, schema: string): Promise<void> {
  const { rows } = await sql<{ statement: string }>`
    with own as (
      select relname, relowner, relacl, oid::regclass as name from pg_class
       where ${areTables(schema)} and pg_has_role(relowner, 'usage'))
    select format('revoke %s on %s from %s cascade', privilege_type, name,
             case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end) as statement
      from own, aclexplode(relacl) where grantee <> relowner and privilege_type <> 'SELECT'
    union all
    select format('grant select on %s to public', name) from own where relname = 'kysely_migration'`.execute(db)
  for (const { statement } of rows) await sql.raw(statement).execute(db)
}

async function whatToGrant(db: Kysely<unknown>, schema: string, cause: unknown): Promise<MigrationError> {
  const { rows } = await sql<{ cure: string }>`
    select case when to_regnamespace(quote_ident(${schema})) is null
             then format('create schema %I authorization %I', ${schema}::text, current_user)
             else format('grant usage, create on schema %I to %I', ${schema}::text, current_user)
           end || ', in database ' || current_database() as cure`.execute(db)
  return new MigrationError(`${(cause as Error).message}: a superuser can ${rows[0]?.cure}`, { cause })
}

/** Where a connection leads, as its server sees it. */
export async function whereabouts(db: QueryExecutorProvider, schema: string): Promise<string> {
  const { rows } = await sql<{ place: string }>`
    select concat_ws(', ', 'role ' || current_user, 'database ' || current_database(), 'schema ' || ${schema},
      'server ' || host(inet_server_addr()) || ':' || inet_server_port()) as place`.execute(db)
  return rows[0]?.place as string
}
