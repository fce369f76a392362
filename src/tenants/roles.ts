import { type QueryExecutorProvider, sql } from 'kysely'

/** What a role can do past the policies: details for the log, and a message that says the cure. */
export type Finding = [details: Record<string, unknown>, message: string]

interface Row {
  role: string
  bypasses: boolean
  has_tenant: boolean
  roles: string[] | null
  owned: string[] | null
  beyond: string[] | null
  migrating: string[] | null
}

/** What an extension brought is not made by a role that migrates. */
const isOfExtension = (catalog: string, oid: string) => sql`exists (
  select from pg_depend where classid = ${sql.lit(catalog)}::regclass and objid = ${sql.ref(oid)} and deptype = 'e')`

/**
 * Looks at the role that serves, and at those that migrate. The catalogs know the latter as owners, so that this takes
 * no connection of theirs and works whoever migrates, and when. `migrator`: the role of DATABASE_MIGRATION_URL, which
 * may own nothing yet. `isProduction`: there the service should own nothing.
 */
export async function findings(
  db: QueryExecutorProvider,
  { migrator, isProduction }: { migrator: string | undefined; isProduction: boolean },
): Promise<Finding[]> {
  const { rows } = await sql<Row>`
    with isolated as (
           select c.oid, c.oid::regclass::text as name, relowner, relnamespace
             from pg_policy join pg_class c on c.oid = polrelid where polname = 'tenant_isolation'),
         owners as (
           select relowner as id from pg_class c
            where relnamespace in (select relnamespace from isolated) and relkind in ('r', 'p', 'v', 'm')
              and not ${isOfExtension('pg_class', 'c.oid')}
           union select proowner from pg_proc p
            where pronamespace in (select relnamespace from isolated) and prosecdef
              and not ${isOfExtension('pg_proc', 'p.oid')}
           union select oid from pg_roles where rolname = ${migrator ?? null} and exists (select from isolated))
    select me.rolname as role, me.rolsuper or me.rolbypassrls as bypasses,
           coalesce(current_setting('app.tenant_id', true), '') <> '' as has_tenant,
           (select array_agg(rolname::text order by rolname) from pg_roles r
             where (rolsuper or rolbypassrls) and pg_has_role(me.oid, r.oid, 'member')) as roles,
           (select array_agg(name order by name) from isolated where pg_has_role(me.oid, relowner, 'member')) as owned,
           (select array_agg(name order by name) from isolated
             where has_table_privilege(me.oid, oid, 'truncate, references, trigger')) as beyond,
           (select array_agg(rolname::text order by rolname) from pg_roles r
             where (rolsuper or rolbypassrls) and r.oid <> me.oid and r.oid in (select id from owners)) as migrating
      from pg_roles me where rolname = current_user`.execute(db)
  return rows.flatMap((row) => [...serving(row, isProduction), ...migrators(row)])
}

function serving({ role, bypasses, has_tenant, roles, owned, beyond }: Row, isProduction: boolean): Finding[] {
  const found: Finding[] = []
  if (has_tenant) found.push([{ role }, HAS_TENANT])
  if (bypasses) return [...found, [{ role }, BYPASSES]]
  if (roles) found.push([{ role, roles }, BECOMES])
  if (isProduction && owned) found.push([{ role, tables: owned }, OWNS])
  else if (isProduction && beyond) found.push([{ role, tables: beyond }, BEYOND])
  return found
}

function migrators({ migrating }: Row): Finding[] {
  return (migrating ?? []).map((role) => [{ role }, MIGRATES])
}

const BYPASSES =
  'this role bypasses row-level security: tenants are not isolated. ' +
  'Connect as another one (CREATE ROLE … LOGIN NOSUPERUSER NOBYPASSRLS), and migrate over DATABASE_MIGRATION_URL'
const HAS_TENANT =
  'each connection of this role starts with a tenant: who sets none sees its rows. ' +
  'Take app.tenant_id out of the URL (options), the role and the database (ALTER ROLE … RESET app.tenant_id)'
const BECOMES =
  'this role can become one that bypasses row-level security (SET ROLE): tenants are isolated until it does. ' +
  'Take the membership from it (REVOKE the other role FROM this one)'
const OWNS =
  'this role serves and owns isolated tables: it can switch row-level security off, and TRUNCATE them. ' +
  'Let another role own them and migrate over DATABASE_MIGRATION_URL: docs/database.md, "Roles", has the statements'
const BEYOND =
  'no policy governs what this role may do to isolated tables: TRUNCATE takes the rows of all tenants. ' +
  'REVOKE TRUNCATE, REFERENCES, TRIGGER ON these tables FROM this role'
const MIGRATES =
  'a role that migrates bypasses row-level security: its views and SECURITY DEFINER functions show all tenants. ' +
  'ALTER ROLE … NOSUPERUSER NOBYPASSRLS, or let another role own what is there: docs/database.md, "Roles"'
