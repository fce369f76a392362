/**
 * What the catalogs say of the schema: every relation, column, constraint, index, function, trigger and policy, and
 * the rights to relations and functions. Not what an extension brings: that stays.
 */
export const CATALOGS = `
  select 'column' as kind, table_name || '.' || column_name as name,
         concat_ws(' ', data_type, is_nullable, column_default) as definition
    from information_schema.columns where table_schema = 'public'
  union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace
  union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
  union all select 'relation', relname, concat_ws(' ', relkind, relrowsecurity, relforcerowsecurity, relacl, reloptions,
      obj_description(oid, 'pg_class'), case relkind when 'v' then pg_get_viewdef(oid) end)
    from pg_class where relnamespace = 'public'::regnamespace and relname not like 'kysely%'
  union all select 'function', oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(oid), proacl) from pg_proc
    where pronamespace = 'public'::regnamespace
      and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e')
  union all select 'trigger', tgname, pg_get_triggerdef(pg_trigger.oid) from pg_trigger
    join pg_class on pg_class.oid = tgrelid where relnamespace = 'public'::regnamespace and not tgisinternal
  union all select 'policy', polname, concat_ws(' ', polrelid::regclass, polcmd, polroles,
      pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) from pg_policy
  order by 1, 2, 3`
