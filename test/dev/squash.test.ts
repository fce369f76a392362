import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { CATALOGS } from '../support/catalogs.ts'
import { copyProject, database, MIGRATIONS, query, shell } from '../support/helper.ts'
import { commit, git, npm, repository, tried } from './repository.ts'

const PG_DUMP = ['--schema-only', '--clean', '--no-owner', '--exclude-table=kysely_migration*']

/** What pg_dump can make of a schema that a text would trip over, and what isolates tenants. */
const STATEMENTS = [
  String.raw`
    create type "order state" as enum ('new', 'it''s done');
    create function note(text) returns text language plpgsql as $body$
    begin
      -- A remark that stays, with public.items in it.
      return '\n ' || chr(96) || '${'$'}{}' || $1;
    end $body$;
    create table items (
      id bigint generated always as identity primary key,
      number serial,
      tenant_id uuid not null,
      state "order state" not null default 'new',
      note text default note('public.items') check (note <> '--')
    );
    comment on table items is 'What public.items is: \ --no remark';
    create index items_tenant on items (tenant_id, number desc) where state = 'new'`,
  `alter table items enable row level security, force row level security;
    create policy own_rows on items for select to public
      using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    revoke execute on function note(text) from public;
    grant select (id), insert on items to public;
    create view open_items with (security_invoker) as select id, note(note) from items where state = 'new'`,
]
/** `pg_dump` of it, of 15.20; the clients of other versions are taken where they are installed. */
const DUMP = path.join(import.meta.dirname, '../fixtures/squash.sql')

/** Migrations of the test's own alone, in the place of the project's. */
async function project(t: Test): Promise<string> {
  const cwd = await repository(t)
  for (const file of readdirSync(path.join(cwd, 'migrations'))) rmSync(path.join(cwd, 'migrations', file))
  for (const [index, statements] of STATEMENTS.entries()) {
    const content = `import { sql } from 'kysely'\nexport const up = (db) => sql.raw(${JSON.stringify(statements)}).execute(db)\n`
    writeFileSync(path.join(cwd, `migrations/2026010${index + 1}000000_part.ts`), content)
  }
  commit(cwd, 'own')
  return cwd
}

const squash = (cwd: string, dump: string) =>
  tried(shell('sh', ['-c', 'npm run --silent squash:migrations < "$0"', dump], {}, cwd))

const latest = (cwd: string, DATABASE_URL: string) => shell('kysely', ['migrate:latest'], { DATABASE_URL }, cwd)

t.test('a squashed migration makes the schema that its parts made, and takes it back', async (t) => {
  const [old, fresh, schema] = await Promise.all([1, 2, 3].map(() => database(t, { empty: true })))
  const cwd = await project(t)
  await latest(cwd, old as string)
  t.match(await squash(cwd, DUMP), { code: 0, output: 'in the place of 2 migrations' })
  t.same(readdirSync(path.join(cwd, 'migrations')), ['20260102000000_squashed.ts'])
  await latest(cwd, fresh as string)
  t.same(await query(fresh as string, CATALOGS), await query(old as string, CATALOGS))
  t.match(await latest(cwd, old as string), 'recorded')
  for (const url of [old, fresh] as string[]) {
    t.same(await query(url, 'select name from kysely_migration'), [{ name: '20260102000000_squashed' }])
    t.match(await shell('kysely', ['migrate:down'], { DATABASE_URL: url }, cwd), 'Undone 1')
    const left =
      "select proname as name from pg_proc where pronamespace = 'public'::regnamespace union all select relname from pg_class where relname like '%item%'"
    t.same(await query(url, left), [])
  }
  const env = { DATABASE_URL: schema, DATABASE_SCHEMA: 'elsewhere' }
  await shell('kysely', ['migrate:latest'], env, cwd)
  t.same(await query(schema as string, 'select from elsewhere.items, elsewhere.open_items'), [])
  t.equal((await npm(cwd, 'check:migrations', ['HEAD'])).code, 0)
})

t.test('what is no such dump, or not merged, changes nothing', async (t) => {
  const cwd = await project(t)
  const other = path.join(cwd, 'other.sql')
  writeFileSync(other, readFileSync(DUMP, 'utf8').replaceAll(/^DROP .*\n/gm, ''))
  for (const dump of [other, '/dev/null'])
    t.match(await squash(cwd, dump), { code: 1, output: 'pg_dump --schema-only' })
  git(cwd, 'update-ref', 'refs/remotes/origin/HEAD', 'HEAD')
  writeFileSync(path.join(cwd, 'migrations/20260103000000_new.ts'), 'export const up = async () => {}\n')
  t.match(await squash(cwd, DUMP), { code: 1, output: '20260103000000_new.ts: not in origin/HEAD' })
  t.equal(readdirSync(path.join(cwd, 'migrations')).length, 3)
})

/** The major version, of the client that is installed and of the server. */
async function versions(): Promise<[client: number, server: number]> {
  const [row] = await query<{ version: string }>(await database(t), 'show server_version_num')
  const client = await shell('pg_dump', ['--version'], {}).catch(() => '')
  return [Number(/\d+/.exec(client)?.[0] ?? 0), Math.floor(Number(Object.values(row ?? {})[0]) / 10_000)]
}

const [client, server] = await versions()
const skip = client < server && `there is no pg_dump ${server} or newer`

t.test("the project's own migrations, as pg_dump sees them", { skip }, async (t) => {
  const [old, fresh] = [await database(t), await database(t, { empty: true })]
  const cwd = await copyProject(t)
  git(cwd, 'init', '--quiet')
  const dump = (url: string, ...more: string[]) =>
    shell('pg_dump', [...PG_DUMP, ...more, url], {}).then((text) => text.replace(/^\\.*\n/gm, ''))
  writeFileSync(path.join(cwd, 'dump.sql'), await dump(old))
  t.match(await squash(cwd, 'dump.sql'), { code: 0, output: `in the place of ${MIGRATIONS.length} migrations` })
  await latest(cwd, fresh)
  t.equal(await dump(fresh), await dump(old))
  t.match(await latest(cwd, old), 'recorded')
})
