import fp from 'fastify-plugin'
import { sql } from 'kysely'
import { retry } from '../core/retry.ts'

/** Warns, once a boot, when the service's role sees the rows of all tenants whatever the policies say. */
export default fp(
  async function tenants(fastify) {
    const { db, lifecycle, log } = fastify

    const look = async () => {
      const { rows } = await sql<{ role: string }>`
        select rolname as role from pg_roles where rolname = current_user and (rolsuper or rolbypassrls)`.execute(db)
      for (const { role } of rows) log.warn({ role }, BYPASS)
    }
    const message = 'waiting to look at the role'
    lifecycle.add('tenants', ({ signal }) => retry(look, { signal, log, message }), { shown: false })
  },
  { name: 'tenants', fastify: '5.x', dependencies: ['lifecycle', 'database'] },
)

const BYPASS =
  'this role bypasses row-level security: tenants are not isolated. ' +
  'Connect as another one (CREATE ROLE … LOGIN NOSUPERUSER NOBYPASSRLS), and migrate over DATABASE_MIGRATION_URL'
