import { randomBytes } from 'node:crypto'
import { Client, escapeIdentifier } from 'pg'

/**
 * Makes the role with a new random password, and databases of its own, where they are missing; returns the URL of
 * each. It is no superuser. CREATEDB lets the tests clone databases.
 */
export async function ownedDatabases(superuserUrl: string, role: string, names: string[]): Promise<string[]> {
  const owner = escapeIdentifier(role)
  const password = await login(superuserUrl, role, 'createdb')
  await connected(superuserUrl, async (client) => {
    for (const name of names) {
      const { rowCount } = await client.query('select from pg_database where datname = $1', [name])
      if (!rowCount) await client.query(`create database ${escapeIdentifier(name)} owner ${owner}`)
    }
  })
  return names.map((pathname) => Object.assign(new URL(superuserUrl), { username: role, password, pathname }).href)
}

/**
 * The URL of a role that serves and owns nothing, in the database of another role: what production has. What it made
 * while it was the one role goes to the owner.
 */
export async function servingRole(superuserUrl: string, role: string, owner: string, databases: string[]) {
  const password = await login(superuserUrl, role, 'nocreatedb')
  for (const name of databases) {
    const url = Object.assign(new URL(superuserUrl), { pathname: name }).href
    await connected(url, (client) => handOver(client, escapeIdentifier(role), escapeIdentifier(owner)))
  }
  return databases.map((pathname) => Object.assign(new URL(superuserUrl), { username: role, password, pathname }).href)
}

/** What `npm run dev` has in a server of its own, made where it is missing: two roles, and a database for the tests. */
export async function developmentDatabases(superuserUrl: string, name: string): Promise<Record<string, string>> {
  const databases = [name, `${name}_test`]
  const owner = `${name}_owner`
  const [migrationUrl = '', testUrl = ''] = await ownedDatabases(superuserUrl, owner, databases)
  const [url = ''] = await servingRole(superuserUrl, name, owner, databases)
  return { DATABASE_URL: url, DATABASE_MIGRATION_URL: migrationUrl, TEST_DATABASE_URL: testUrl }
}

/** Drops the database with all its connections, and makes it anew for the two roles, which are there. */
export async function emptyDatabase(superuserUrl: string, name: string, role: string, owner: string): Promise<void> {
  await connected(superuserUrl, async (client) => {
    await client.query(`drop database if exists ${escapeIdentifier(name)} with (force)`)
    await client.query(`create database ${escapeIdentifier(name)} owner ${escapeIdentifier(owner)}`)
  })
  const url = Object.assign(new URL(superuserUrl), { pathname: name }).href
  await connected(url, (client) => handOver(client, escapeIdentifier(role), escapeIdentifier(owner)))
}

async function handOver(client: Client, role: string, owner: string): Promise<void> {
  await client.query('begin')
  const { rowCount: wasOwner } = await client.query('select from pg_class where relowner = $1::regrole limit 1', [role])
  await client.query(`
    reassign owned by ${role} to ${owner};
    alter default privileges for role ${owner} grant usage on schemas to ${role};
    alter default privileges for role ${owner} grant select, insert, update, delete on tables to ${role};
    alter default privileges for role ${owner} grant usage, select on sequences to ${role}`)
  if (wasOwner) {
    const { rows } = await client.query<{ statement: string }>(GRANTS, [role, owner])
    for (const { statement } of rows) await client.query(statement)
  }
  await client.query('commit')
}

/** What the default privileges would have given to the role: $1 is the role, $2 the owner. */
const GRANTS = `
  select format('grant usage on schema %I to %s', nspname, $1::text) as statement
    from pg_namespace where nspowner = $2::regrole
  union all
  select format('grant %s on %s to %s',
           case when relname in ('kysely_migration', 'kysely_migration_lock') then 'select'
                when relkind = 'S' then 'usage, select' else 'select, insert, update, delete' end, oid::regclass, $1)
    from pg_class where relowner = $2::regrole and relkind in ('r', 'p', 'v', 'm', 'f', 'S')`

/** Makes the role where it is missing; returns its new password. */
async function login(superuserUrl: string, role: string, may: string): Promise<string> {
  const password = randomBytes(16).toString('hex')
  await connected(superuserUrl, async (client) => {
    const { rowCount } = await client.query('select from pg_roles where rolname = $1', [role])
    if (!rowCount) await client.query(`create role ${escapeIdentifier(role)}`)
    await client.query(
      `alter role ${escapeIdentifier(role)} login nosuperuser nobypassrls ${may} password '${password}'`,
    )
  })
  return password
}

async function connected(url: string, run: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client(url)
  await client.connect()
  try {
    await run(client)
  } finally {
    await client.end()
  }
}
