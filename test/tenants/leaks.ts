/** The test of the catalogs: through what one tenant could see another, or learn of it. */
import { query } from '../support/helper.ts'
import { ALLOWED } from './allowed.ts'

export interface Leak {
  kind: string
  name: string
  cure: string
}

/** What PostgreSQL says of the policy that isolate_tenants makes. */
const EXPRESSION = "$$(tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)$$"

/**
 * One row a leak. It looks at what a migration says and not at whose the object is: the role of the tests bypasses
 * nothing, and that of production may. It leaves out the system's schemas, functions that an extension brings, and the
 * schemas of TimescaleDB, whose chunks no migration makes.
 */
export const LEAKS = `
  with recursive
  spaces as (select oid from pg_namespace where nspname !~ '^(pg_|_timescaledb_)'),
  relations as (
    select c.*, c.oid::regclass::text as name from pg_class c where relnamespace in (select oid from spaces)
  ),
  keyed as (
    select attrelid as oid, attnum from pg_attribute join pg_class on pg_class.oid = attrelid
     where attname = 'tenant_id' and relkind in ('r', 'p', 'f')
  ),
  -- A parent shows the rows of its children by its own policies.
  holders (oid) as (
    select oid from keyed union select inhparent from pg_inherits join holders on inhrelid = holders.oid
  ),
  -- The table tenants has no tenant_id: its id is one.
  registers as (
    select polrelid as oid from pg_policy join pg_class c on c.oid = polrelid where (relname, polname) = ('tenants', 'own_row')
  ),
  uses as (
    select distinct r.oid as rule, rulename, ev_class as reader, ev_type = '1' as is_view, refobjid as source
      from pg_rewrite r join pg_depend d on classid = 'pg_rewrite'::regclass and objid = r.oid
     where refclassid = 'pg_class'::regclass
  ),
  -- What has policies of its own is hidden from some, whatever its columns are.
  readers (oid) as (
    select oid from pg_class where relrowsecurity or oid in (select oid from holders)
    union select reader from uses join readers on source = readers.oid where is_view
  ),
  copies (oid) as (
    select oid from readers join pg_class using (oid) where relkind = 'm'
    union select reader from uses join copies on source = copies.oid where is_view
  )

  select case when relkind = 'f' then 'foreign table' when relispartition then 'partition' else 'table' end as kind,
         name,
         case when relkind = 'f' then 'policies do not hold for it: copy its rows into an isolated table, and drop it'
              when oid not in (select oid from keyed)
              then 'it shows the columns that its children inherit from it, of all tenants: let no table with tenant_id inherit'
              else format('call isolate_tenants(%L)', name) end as cure
    from relations c join holders using (oid)
   where not (relrowsecurity and relforcerowsecurity
              and exists (select from pg_policy where polrelid = c.oid and polname = 'tenant_isolation'))

  union all
  select 'table', name, format('its policies do not hold: alter table %s enable row level security', name)
    from relations where not relrowsecurity and oid in (select polrelid from pg_policy)
     and oid not in (select oid from holders)

  union all
  select 'policy', format('%I on %s', polname, name),
         case polname when 'tenant_isolation' then 'it is not what isolate_tenants makes: drop it, and call that again'
              else 'it adds rows to what the other policy lets through: make it "as restrictive"' end
    from pg_policy p join relations c on c.oid = polrelid
   where (polname = 'tenant_isolation' or c.oid in (select oid from holders)
          or polname <> 'own_row' and c.oid in (select oid from registers))
     and case polname
           when 'tenant_isolation' then polcmd <> '*' or polroles <> '{0}'
             or pg_get_expr(polqual, polrelid) is distinct from ${EXPRESSION}
             or pg_get_expr(polwithcheck, polrelid) <> ${EXPRESSION}
           else polpermissive end

  union all
  select case relkind when 'm' then 'materialized view' else 'view' end, name,
         case when relkind = 'm' then 'no policy holds for it: make it a table with tenant_id, and isolate that'
              when oid in (select oid from copies) then 'it reads a materialized view, for which no policy holds: drop both'
              else format('alter view %s set (security_invoker = true)', name) end
    from relations join readers using (oid)
   where relkind = 'm'
      or relkind = 'v' and (oid in (select oid from copies) or not coalesce((
           select option_value::boolean from pg_options_to_table(reloptions) where option_name = 'security_invoker'), false))

  union all
  select distinct 'rule', format('%I on %s', rulename, name), 'it runs with the rights of the owner: make it a trigger'
    from uses join relations on relations.oid = reader
   where not is_view and source in (select oid from readers)

  union all
  select 'function', oid::regprocedure::text,
         case when prosecdef
              then format('it runs with the rights of its owner: alter routine %s security invoker', oid::regprocedure)
              when proleakproof
              then format('it is given rows before the policies choose: alter function %s not leakproof', oid::regprocedure)
              else 'it sets the tenant: let withTenant do that alone' end
    from pg_proc p
   where pronamespace in (select oid from spaces)
     and not exists (select from pg_depend where (classid, objid, deptype) = ('pg_proc'::regclass, p.oid, 'e'))
     and (prosecdef or proleakproof or case when prokind <> 'a' then pg_get_functiondef(oid) end
            ~* '(set_config\\s*\\(\\s*(e?''|\\$\\w*\\$)|set\\s+((local|session)\\s+)?"?)app"?\\s*\\.\\s*"?tenant_id')

  union all
  select 'foreign key', format('%I on %s', conname, name),
         format('pair the tenants: foreign key (tenant_id, …) references %s (tenant_id, …)', confrelid::regclass)
    from pg_constraint k join relations on relations.oid = conrelid
   where contype = 'f' and conparentid = 0 and confrelid in (select oid from keyed)
     and not exists (
       select from unnest(conkey, confkey) as pair (here, there)
         join keyed h on (h.oid, h.attnum) = (conrelid, here) join keyed o on (o.oid, o.attnum) = (confrelid, there))

  union all
  select case when indisprimary then 'primary key' else 'unique key' end, format('%s on %s', indexrelid::regclass, name),
         'it tells what other tenants have: begin it with tenant_id'
    from pg_index join relations on relations.oid = indrelid join keyed on keyed.oid = indrelid
   where indisunique and attnum <> all ((indkey::int2[])[0:indnkeyatts - 1])
     and indexrelid not in (select inhrelid from pg_inherits)

  union all
  select 'exclusion', format('%I on %s', conname, name), 'it tells what other tenants have: begin it with "tenant_id with ="'
    from pg_constraint join relations on relations.oid = conrelid join keyed on keyed.oid = conrelid
   where contype = 'x'
     and not exists (
       select from unnest(conkey, conexclop) as element (number, operator) join pg_operator o on o.oid = operator
        where number = attnum and oprname = '=')
  order by 1, 2`

/** The leaks of that database that `allowed` gives no reason for, and the reasons for which there is no leak. */
export async function leaks(url: string, allowed: Record<string, string> = ALLOWED): Promise<Leak[]> {
  const found = await query<Leak>(url, LEAKS)
  const key = ({ kind, name }: Leak) => `${kind} ${name}`
  const stale = Object.keys(allowed).filter((name) => !found.some((leak) => key(leak) === name))
  return [
    ...found.filter((leak) => !allowed[key(leak)]),
    ...stale.map((name) => ({
      kind: 'exception',
      name,
      cure: 'there is no such leak: delete it in test/tenants/allowed.ts',
    })),
  ]
}
