import { randomBytes } from 'node:crypto'
import { Client, escapeIdentifier } from 'pg'

/**
 * Makes the role with a new random password, and databases of its own, where they are missing; returns the URL of
 * each. The role may do what production's may: it is no superuser. CREATEDB lets the tests clone databases.
 */
export async function ownedDatabases(superuserUrl: string, role: string, names: string[]): Promise<string[]> {
  const owner = escapeIdentifier(role)
  const password = randomBytes(16).toString('hex')
  const client = new Client(superuserUrl)
  await client.connect()
  try {
    const { rowCount } = await client.query('select from pg_roles where rolname = $1', [role])
    if (!rowCount) await client.query(`create role ${owner}`)
    await client.query(`alter role ${owner} login nosuperuser nobypassrls createdb password '${password}'`)
    for (const name of names) {
      const { rowCount } = await client.query('select from pg_database where datname = $1', [name])
      if (!rowCount) await client.query(`create database ${escapeIdentifier(name)} owner ${owner}`)
    }
  } finally {
    await client.end()
  }
  return names.map((pathname) => Object.assign(new URL(superuserUrl), { username: role, password, pathname }).href)
}
