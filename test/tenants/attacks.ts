/** What `leaks.test.ts` tries: each kind of leak, what a tenant learns by it, and the same without it. */

export const A = '00000000-0000-4000-8000-00000000000a'
export const Z = '00000000-0000-4000-8000-00000000000f'
const MISSING = '00000000-0000-4000-8000-000000000000'

/** The texts that a statement returned, or the code of its error. */
export type Outcome = string[] | string

export interface Attack {
  /** As the superuser, who migrates. */
  made: string
  /** As tenant A, over the role that serves. */
  attack: string[]
  /** What A learns. */
  told: Outcome[]
  /** The leaks that are named: `kind name`. */
  named: string[]
  /** As the superuser again: the same without the leak. */
  right: string
  /** What A learns then. */
  safe: Outcome[]
}

const SEES = { told: [['of a', 'of z']], safe: [['of a']] }

export const ATTACKS: Record<string, Attack> = {
  'a table without isolation': {
    ...SEES,
    made: 'create table bare as select tenant_id, text from notes',
    attack: ['select text from bare'],
    named: ['table bare'],
    right: "call isolate_tenants('bare')",
  },
  'one in another schema': {
    ...SEES,
    made: 'create schema elsewhere; create table elsewhere.bare as select tenant_id, text from notes',
    attack: ['select text from elsewhere.bare'],
    named: ['table elsewhere.bare'],
    right: "call isolate_tenants('elsewhere.bare')",
  },
  'a table whose isolation is switched off': {
    ...SEES,
    made: 'alter table notes disable row level security',
    attack: ['select text from notes'],
    named: ['table notes'],
    right: 'alter table notes enable row level security',
  },
  'a table whose isolation does not hold for its owner': {
    ...SEES,
    made: 'alter table notes no force row level security; alter table notes owner to shop',
    attack: ['select text from notes'],
    named: ['table notes'],
    right: 'alter table notes force row level security',
  },
  'a partition': {
    ...SEES,
    made: `create table events (tenant_id uuid, text text) partition by list (text);
           create table events_rest partition of events default;
           insert into events select tenant_id, text from notes;
           call isolate_tenants('events')`,
    attack: ['select text from events_rest'],
    named: ['partition events_rest'],
    right: "call isolate_tenants('events_rest')",
  },
  'a table that inherits': {
    ...SEES,
    made: `create table old_notes () inherits (notes); insert into old_notes select * from only notes; delete from only notes`,
    attack: ['select text from old_notes'],
    named: ['table old_notes'],
    right: "call isolate_tenants('old_notes')",
  },
  'a table without tenant_id from which one with it inherits': {
    made: `create table texts (text text); grant select on texts to shop;
           create table letters (tenant_id uuid) inherits (texts);
           insert into letters (tenant_id, text) select tenant_id, text from notes;
           call isolate_tenants('letters')`,
    attack: ['select text from texts'],
    told: [['of a', 'of z']],
    named: ['table texts'],
    right: 'alter table letters no inherit texts',
    safe: [[]],
  },
  'a foreign table': {
    ...SEES,
    made: `create extension if not exists file_fdw; create server files foreign data wrapper file_fdw;
           create foreign table imported (tenant_id uuid, text text) server files
             options (format 'csv', program 'echo "${A},of a"; echo "${Z},of z"')`,
    attack: ['select text from imported'],
    named: ['foreign table imported'],
    right: `alter table imported rename to import;
            create table imported as select * from import; call isolate_tenants('imported'); drop foreign table import`,
  },
  'another policy': {
    ...SEES,
    made: 'create policy support on notes for select using (true)',
    attack: ['select text from notes'],
    named: ['policy support on notes'],
    right: 'drop policy support on notes; create policy support on notes as restrictive for select using (true)',
  },
  'another policy on the table of tenants': {
    made: 'grant select on tenants to shop; create policy support on tenants using (true)',
    attack: ['select name as text from tenants'],
    told: [['A', 'Z']],
    named: ['policy support on tenants'],
    right: 'drop policy support on tenants',
    safe: [['A']],
  },
  'a table whose policies are switched off': {
    made: 'grant select on tenants to shop; alter table tenants disable row level security',
    attack: ['select name as text from tenants'],
    told: [['A', 'Z']],
    named: ['table tenants'],
    right: 'alter table tenants enable row level security',
    safe: [['A']],
  },
  'a policy that reads more': {
    ...SEES,
    made: 'alter policy tenant_isolation on notes using (true)',
    attack: ['select text from notes'],
    named: ['policy tenant_isolation on notes'],
    right: "drop policy tenant_isolation on notes; call isolate_tenants('notes')",
  },
  'a policy that writes more': {
    made: 'alter policy tenant_isolation on notes with check (true)',
    attack: [`insert into notes (tenant_id, text) values ('${Z}', 'of a')`],
    told: [[]],
    named: ['policy tenant_isolation on notes'],
    right: "drop policy tenant_isolation on notes; call isolate_tenants('notes')",
    safe: ['42501'],
  },
  // The next three let nobody see more. They are named because they are not what the tenant should see either.
  'a table without its policy': {
    made: 'drop policy tenant_isolation on notes',
    attack: ['select text from notes'],
    told: [[]],
    named: ['table notes'],
    right: "call isolate_tenants('notes')",
    safe: [['of a']],
  },
  'a policy whose column has another name, so that keys are not looked at': {
    made: 'alter table notes rename tenant_id to tenant; create unique index on notes (text)',
    attack: ['of z', 'other'].map((text) => `insert into notes (tenant, text) values ('${A}', '${text}')`),
    told: ['23505', []],
    named: ['policy tenant_isolation on notes'],
    right: 'alter table notes rename tenant to tenant_id; drop index notes_text_idx',
    safe: ['42703', '42703'],
  },
  'a policy for some commands': {
    made: `drop policy tenant_isolation on notes; create policy tenant_isolation on notes for select
             using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)`,
    attack: [`insert into notes (tenant_id, text) values ('${A}', 'of a')`],
    told: ['42501'],
    named: ['policy tenant_isolation on notes'],
    right: "drop policy tenant_isolation on notes; call isolate_tenants('notes')",
    safe: [[]],
  },
  'a policy for some roles': {
    made: 'alter policy tenant_isolation on notes to postgres',
    attack: ['select text from notes'],
    told: [[]],
    named: ['policy tenant_isolation on notes'],
    right: 'alter policy tenant_isolation on notes to public',
    safe: [['of a']],
  },
  'a view': {
    ...SEES,
    made: 'create view texts as select text from notes',
    attack: ['select text from texts'],
    named: ['view texts'],
    right: 'alter view texts set (security_invoker = on)',
  },
  'a view of views': {
    ...SEES,
    made: 'create view texts as select text from notes; create view long_texts as select text from texts',
    attack: ['select text from long_texts'],
    named: ['view long_texts', 'view texts'],
    right: 'alter view texts set (security_invoker = 1); alter view long_texts set (security_invoker = true)',
  },
  'a view of a table with policies of its own': {
    ...SEES,
    made: `create table tokens as select tenant_id as owner, text from notes;
           alter table tokens enable row level security;
           create policy own on tokens using (owner::text = current_setting('app.tenant_id'));
           create view texts as select text from tokens`,
    attack: ['select text from texts'],
    named: ['view texts'],
    right: 'alter view texts set (security_invoker = true)',
  },
  'a materialized view, and a view of it': {
    made: `create materialized view copies as select text from notes;
           create view texts with (security_invoker) as select text from copies`,
    attack: ['select text from copies', 'select text from texts'],
    told: [
      ['of a', 'of z'],
      ['of a', 'of z'],
    ],
    named: ['materialized view copies', 'view texts'],
    right: `drop materialized view copies cascade; create table copies as select tenant_id, text from notes;
            call isolate_tenants('copies'); create view texts with (security_invoker) as select text from copies`,
    safe: [['of a'], ['of a']],
  },
  'a rule': {
    made: `create table inbox (text text); create table outbox (text text);
           create rule copy as on insert to inbox do also insert into outbox select text from notes`,
    attack: ["insert into inbox values ('any'); select text from outbox"],
    told: [['of a', 'of z']],
    named: ['rule copy on inbox'],
    right: 'drop rule copy on inbox',
    safe: [[]],
  },
  'a function with the rights of its owner': {
    ...SEES,
    made: "create function texts() returns table (text text) language sql security definer as 'select text from notes'",
    attack: ['select text from texts()'],
    named: ['function texts()'],
    right: 'alter function texts() security invoker',
  },
  'a function that is given rows before the policies choose': {
    made: `create function peek(text text) returns boolean language plpgsql leakproof cost 0.1 as $$
           begin if text = 'of z' then raise exception 'there is one'; end if; return true; end $$`,
    attack: [
      'set local enable_indexscan = off; set local enable_bitmapscan = off; select text from notes where peek(text)',
    ],
    told: ['P0001'],
    named: ['function peek(text)'],
    right: 'alter function peek(text) not leakproof',
    safe: [['of a']],
  },
  'a function that is bound to a tenant': {
    made: `create function texts() returns table (text text) language sql set app.tenant_id = '${Z}' as 'select text from notes'`,
    attack: ['select text from texts()'],
    told: [['of z']],
    named: ['function texts()'],
    right: 'alter function texts() reset app.tenant_id',
    safe: [['of a']],
  },
  'a function that spells the setting in another way': {
    made: `create function texts() returns table (text text) language plpgsql as $$
           begin set local "app"."tenant_id" = '${Z}'; return query select notes.text from notes; end $$;
           create function more_texts() returns table (text text) language plpgsql as $$
           begin perform set_config(E'app.tenant_id', '${Z}', true); return query select notes.text from notes; end $$;
           create function all_texts() returns table (text text) language plpgsql as $$
           begin perform set_config($name$app.tenant_id$name$, '${Z}', true); return query select notes.text from notes; end $$`,
    attack: ['select text from texts()', 'select text from more_texts()', 'select text from all_texts()'],
    told: [['of z'], ['of z'], ['of z']],
    named: ['function all_texts()', 'function more_texts()', 'function texts()'],
    right: 'drop function texts(), more_texts(), all_texts()',
    safe: ['42883', '42883', '42883'],
  },
  'a function that sets the tenant': {
    made: `create function texts() returns table (text text) language plpgsql as $$
           begin perform set_config('app.tenant_id', '${Z}', true); return query select notes.text from notes; end $$`,
    attack: ['select text from texts()'],
    told: [['of z']],
    named: ['function texts()'],
    right: `create or replace function texts() returns table (text text) language plpgsql as $$
            begin return query select notes.text from notes where tenant_id::text = current_setting('app.tenant_id'); end $$`,
    safe: [['of a']],
  },
  'a foreign key': {
    made: `create table replies (tenant_id uuid not null, note_id uuid); call isolate_tenants('replies');
           alter table notes add constraint notes_id_key unique (id);
           alter table replies add constraint replies_note_id_fkey foreign key (note_id) references notes (id)`,
    attack: [Z, MISSING].map((id) => `insert into replies values ('${A}', '${id}')`),
    told: [[], '23503'],
    named: ['foreign key replies_note_id_fkey on replies', 'unique key notes_id_key on notes'],
    right: `alter table replies drop constraint replies_note_id_fkey;
            alter table notes drop constraint notes_id_key;
            alter table replies add foreign key (tenant_id, note_id) references notes (tenant_id, id)`,
    safe: ['23503', '23503'],
  },
  'a foreign key that pairs tenant_id with something else': {
    made: `alter table notes add column reply_to uuid, add unique (id, tenant_id);
           alter table notes add constraint notes_reply_fkey foreign key (tenant_id, reply_to) references notes (id, tenant_id)`,
    attack: [Z, MISSING].map((id) => `insert into notes (tenant_id, reply_to) values ('${A}', '${id}')`),
    told: ['23503', '23503'],
    named: ['foreign key notes_reply_fkey on notes'],
    right: `alter table notes drop constraint notes_reply_fkey;
            alter table notes add foreign key (reply_to, tenant_id) references notes (id, tenant_id)`,
    safe: ['23503', '23503'],
  },
  'a foreign key from a table without tenant_id': {
    made: `create table likes (note_tenant uuid, note_id uuid, constraint likes_note_fkey foreign key (note_tenant, note_id) references notes)`,
    attack: [Z, MISSING].map((id) => `insert into likes values ('${Z}', '${id}')`),
    told: [[], '23503'],
    named: ['foreign key likes_note_fkey on likes'],
    right: "alter table likes rename note_tenant to tenant_id; call isolate_tenants('likes')",
    safe: ['42501', '42501'],
  },
  'a primary key': {
    made: 'alter table notes drop constraint notes_pkey, add primary key (id)',
    attack: [Z, MISSING].map((id) => `insert into notes (tenant_id, id) values ('${A}', '${id}')`),
    told: ['23505', []],
    named: ['primary key notes_pkey on notes'],
    right: 'alter table notes drop constraint notes_pkey, add primary key (tenant_id, id)',
    safe: [[], []],
  },
  'a unique index of an expression, with the tenant beside its key': {
    made: 'create unique index notes_text_key on notes (lower(text)) include (tenant_id) where text is not null',
    attack: ['OF Z', 'other'].map((text) => `insert into notes (tenant_id, text) values ('${A}', '${text}')`),
    told: ['23505', []],
    named: ['unique key notes_text_key on notes'],
    right: 'drop index notes_text_key; create unique index on notes (tenant_id, lower(text)) where text is not null',
    safe: [[], []],
  },
  'the keys of a table with partitions, each once,': {
    made: `alter table notes add constraint notes_id_key unique (id);
           create table events (tenant_id uuid, text text unique, note_id uuid references notes (id)) partition by list (text);
           create table events_rest partition of events default;
           call isolate_tenants('events'); call isolate_tenants('events_rest');
           insert into events select tenant_id, text from notes`,
    attack: ['of z', 'other'].map((text) => `insert into events values ('${A}', '${text}')`),
    told: ['23505', []],
    named: [
      'foreign key events_note_id_fkey on events',
      'unique key events_text_key on events',
      'unique key notes_id_key on notes',
    ],
    right: `alter table events drop constraint events_text_key, drop constraint events_note_id_fkey;
            alter table notes drop constraint notes_id_key`,
    safe: [[], []],
  },
  'an exclusion': {
    made: 'alter table notes add constraint notes_text_excl exclude (text with =)',
    attack: ['of z', 'other'].map((text) => `insert into notes (tenant_id, text) values ('${A}', '${text}')`),
    told: ['23P01', []],
    named: ['exclusion notes_text_excl on notes'],
    right:
      'alter table notes drop constraint notes_text_excl; alter table notes add exclude (tenant_id with =, text with =)',
    safe: [[], []],
  },
  'an exclusion of what other tenants have': {
    made: `create extension if not exists btree_gist schema public;
           alter table notes add constraint notes_text_excl exclude using gist (tenant_id with <>, text with =)`,
    attack: ['of z', 'other'].map((text) => `insert into notes (tenant_id, text) values ('${A}', '${text}')`),
    told: ['23P01', []],
    named: ['exclusion notes_text_excl on notes'],
    right: `alter table notes drop constraint notes_text_excl;
            alter table notes add exclude using gist (tenant_id with =, text with =)`,
    safe: [[], []],
  },
}
