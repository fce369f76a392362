import { Kysely } from 'kysely'
import { NO_MIGRATIONS } from 'kysely/migration'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { createMigrator, migrationDialect } from '../../src/migrations/migrator.ts'
import { configure, unstarted } from '../support/app.ts'
import { database, MIGRATIONS, migrationsFolder, query, shell, until } from '../support/helper.ts'
import { needsPgbouncer, over, pooled } from '../support/pgbouncer.ts'
import { startPgbouncer } from '../support/pgbouncer-server.ts'
import { Service } from '../support/process.ts'

const server = await startPostgres({ settings: { logging_collector: 'on' } })
t.teardown(() => server.close())
for (const role of ['owner', 'serving']) await query(server.url, `create role ${role} login password '${role}'`)

const FOREIGN = '99981231000000_of_another_service'

/** A database that `owner` owns, as this role. */
async function owned(name: string) {
  await query(server.url, `create database ${name} owner owner`)
  const as = (username: string) => Object.assign(new URL(server.url), { username, password: username, pathname: name })
  const superuser = Object.assign(new URL(server.url), { pathname: name }).href
  return { superuser, DATABASE_URL: as('serving').href, DATABASE_MIGRATION_URL: as('owner').href }
}

async function boot(t: Test, variables: NodeJS.ProcessEnv, folder?: string) {
  const app = await unstarted(t, variables, folder ? { folder } : {})
  await app.lifecycle.start()
  return app
}

async function open(t: Test, variables: NodeJS.ProcessEnv) {
  const config = await configure(t, variables)
  const db = new Kysely<never>({ dialect: migrationDialect(config) })
  t.teardown(() => db.destroy())
  return createMigrator(db, { schema: config.DATABASE_SCHEMA })
}

/** What this schema has, by name. */
async function relations(url: string, schema: string): Promise<string[]> {
  const names = `select relname as name from pg_class where relnamespace = to_regnamespace('${schema}') and relkind = 'r' order by 1`
  return (await query<{ name: string }>(url, names)).map(({ name }) => name)
}

t.test('a first boot, and all that asks whether there was one, leaves no error in the log of the server', async (t) => {
  const { superuser, ...variables } = await owned('fresh')
  await shell('kysely', ['migrate:list'], variables)
  const off = await boot(t, { ...variables, MIGRATIONS: 'off' })
  t.match((await off.inject('/health/db')).json(), { migrations: { applied: 0, pending: MIGRATIONS.length } })
  await boot(t, variables)
  // What the server writes last of all.
  await t.rejects(query(superuser, 'select from the_end'))
  const log = async () => {
    const [row] = await query<{ log: string }>(superuser, 'select pg_read_file(pg_current_logfile()) as log')
    return row?.log as string
  }
  const lines = (await until(log, (text) => text.includes('"the_end"'))).split('\n')
  const errors = lines.filter((line) => /ERROR|FATAL|PANIC/.test(line) && !line.includes('is starting up'))
  t.match(errors, [/"the_end"/])
})

t.test(
  'whatever the default privileges give, a role that serves reads what was applied and writes none of it',
  async (t) => {
    for (const schema of ['', 'app']) {
      const { superuser, ...variables } = await owned(`privileges${schema}`)
      await query(
        superuser,
        `alter default privileges for role owner grant all on tables to serving;
       alter default privileges for role owner grant insert on tables to public;
       alter default privileges for role owner grant usage on schemas to serving`,
      )
      const booted = () => boot(t, { ...variables, DATABASE_SCHEMA: schema })
      await booted()
      const table = `${schema || 'public'}.kysely_migration`
      for (const statement of [
        `insert into ${table} values ('${FOREIGN}', '2026-12-31T00:00:00.000Z')`,
        `update ${table} set name = name`,
        `delete from ${table}`,
        `truncate ${table}`,
        `insert into ${table}_lock values ('one')`,
        `update ${table}_lock set is_locked = 1`,
        `delete from ${table}_lock`,
      ]) {
        await t.rejects(query(variables.DATABASE_URL, statement), { code: '42501' }, statement)
      }
      t.equal((await query(variables.DATABASE_URL, `select from ${table}`)).length, MIGRATIONS.length)
      t.equal((await booted()).lifecycle.phase, 'serving')

      await query(variables.DATABASE_MIGRATION_URL, `revoke select on ${table} from public, serving`)
      await t.rejects(booted(), { code: '42501', message: /kysely_migration/ }, 'unless it may not even look')
      // What a service of before has given away, the next migration takes back.
      await query(variables.DATABASE_MIGRATION_URL, `grant update on ${table} to serving`)
      await shell('kysely', ['migrate:latest'], { ...variables, DATABASE_SCHEMA: schema })
      t.equal((await booted()).lifecycle.phase, 'serving')
      await t.rejects(query(variables.DATABASE_URL, `update ${table} set name = name`), { code: '42501' })
    }
  },
)

t.test('what was applied in another database: exit 1, and it says where each of the two looks', async (t) => {
  const [DATABASE_URL, DATABASE_MIGRATION_URL] = [
    await database(t, { empty: true }),
    await database(t, { empty: true }),
  ]
  const service = new Service(t, { DATABASE_URL, DATABASE_MIGRATION_URL })
  t.equal(await service.exited, 1)
  const place = (url: string) => {
    const { username, pathname, host } = new URL(url)
    return `role ${username}, database ${pathname.slice(1)}, schema public, server ${host}`
  }
  t.match(service.fatal, {
    msg: 'cannot start',
    err: {
      code: 'MIGRATION_FAILED',
      message:
        `the service does not see what was migrated. It looks as ${place(DATABASE_URL)}, for ${MIGRATIONS.join(', ')}; ` +
        `they were applied as ${place(DATABASE_MIGRATION_URL)}`,
    },
  })
  for (const url of [DATABASE_URL, DATABASE_MIGRATION_URL]) t.notMatch(service.output, new URL(url).password)
})

t.test('what was applied along another search_path is the same', async (t) => {
  const { superuser, ...variables } = await owned('elsewhere')
  await query(
    superuser,
    `create schema other; grant usage on schema other to serving;
     alter role serving in database elsewhere set search_path = other`,
  )
  await t.rejects(boot(t, variables), {
    message: /looks as role serving, .* schema other,.* role owner, .* schema public,/,
  })
  await query(superuser, 'alter role serving in database elsewhere set search_path = missing')
  await t.rejects(boot(t, variables), {
    code: 'MIGRATION_FAILED',
    message: 'role serving may use no schema of its search_path (missing): create one, and grant usage on it',
  })
})

t.test('DATABASE_SCHEMA: two services in one database, of one role, migrate up and down apart', async (t) => {
  const url = await database(t, { empty: true })
  const [first, ...others] = ['one', 'two'].map((DATABASE_SCHEMA) => ({ DATABASE_URL: url, DATABASE_SCHEMA }))
  const migration = (statement: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`${statement}\`.execute(db)
`
  const own = (name: string) =>
    migrationsFolder(t, {
      [`99990101000000_${name}.ts`]: migration(`create table ${name} (x int)`),
      [`99990102000000_index_${name}.ts`]: `${migration(`create index concurrently on ${name} (x)`)}export const transaction = false`,
    })
  t.equal((await boot(t, { DATABASE_URL: url })).lifecycle.phase, 'serving', 'beside one that has no schema of its own')
  const before = await relations(url, 'public')
  for (const variables of [first, ...others]) {
    const name = `of_${variables?.DATABASE_SCHEMA}`
    const app = await boot(t, { ...variables }, own(name))
    t.match(app.migrations.state, { pending: [], unknown: [] })
    await app.pg.query(`insert into ${name} values (1), (1)`)
    const invalid = 'create unique index concurrently invalid'
    await t.rejects(query(url, `${invalid} on ${variables?.DATABASE_SCHEMA}.${name} (x)`), { code: '23505' })
  }
  t.same(await relations(url, 'one'), [...before, 'of_one'].sort())
  t.same(await relations(url, 'two'), [...before, 'of_two'].sort())

  await query(url, `delete from one.kysely_migration where name like '9999%'; drop table one.of_one`)
  const migrator = await open(t, { ...first })
  t.equal((await migrator.migrateTo(NO_MIGRATIONS)).error, undefined)
  t.same(await relations(url, 'one'), ['kysely_migration', 'kysely_migration_lock'])
  t.same(await relations(url, 'two'), [...before, 'of_two'].sort())
  t.same(await relations(url, 'public'), before)
})

t.test('the command line and the types of the tables follow DATABASE_SCHEMA', async (t) => {
  const variables = { DATABASE_URL: await database(t, { empty: true }), DATABASE_SCHEMA: 'app' }
  const applied = `✓.* ${MIGRATIONS[0]}`
  t.notMatch(await shell('kysely', ['migrate:list'], variables), new RegExp(applied))
  await shell('kysely', ['migrate:latest'], variables)
  await query(
    variables.DATABASE_URL,
    'create schema other; create table other.kysely_migration (); create table other.x (x int)',
  )
  t.match(await shell('kysely', ['migrate:list'], variables), new RegExp(applied))
  t.match(await shell('kysely', ['sql', 'select current_schema()', '-f', 'json'], variables), /"current_schema": "app"/)
  await t.resolves(shell('npm', ['run', 'types', '--', '--verify'], variables))
  const url = new URL(variables.DATABASE_URL)
  url.searchParams.set('options', '-c search_path=app')
  await t.resolves(shell('npm', ['run', 'types', '--', '--verify'], { DATABASE_URL: url.href }))
  t.match(await shell('kysely', ['migrate:rollback', '--all'], variables), `Undone ${MIGRATIONS.length} migration`)
  t.same(await relations(variables.DATABASE_URL, 'public'), [])
})

t.test(
  "another service's migrations in the same schema are named, with the setting that keeps them apart",
  async (t) => {
    const DATABASE_URL = await database(t)
    await query(DATABASE_URL, `insert into kysely_migration values ('${FOREIGN}', '2026-12-31T00:00:00.000Z')`)
    const folder = migrationsFolder(t, { '99990101000000_new.ts': 'export const up = async () => {}' })
    const failure = {
      code: 'MIGRATION_FAILED',
      message: new RegExp(
        `^Schema public has migrations of another branch, release or service.*${FOREIGN}.*DATABASE_SCHEMA$`,
      ),
    }
    await t.rejects(boot(t, { DATABASE_URL }, folder), failure)
    t.match((await (await open(t, { DATABASE_URL })).migrateDown()).error, failure)
  },
)

t.test('a role that may not make its tables is told what to grant, and that helps', async (t) => {
  const { superuser, DATABASE_URL } = await owned('granting')
  for (const [DATABASE_SCHEMA, cure] of [
    ['', 'grant usage, create on schema public to serving'],
    ['app', 'create schema app authorization serving'],
  ]) {
    const booted = () => boot(t, { DATABASE_URL, DATABASE_SCHEMA })
    await t.rejects(booted(), {
      code: 'MIGRATION_FAILED',
      message: new RegExp(`^permission denied for .*: a superuser can ${cure}, in database granting$`),
    })
    await query(superuser, `${cure}`)
    t.equal((await booted()).lifecycle.phase, 'serving')
  }
})

t.test('tables that another role has made so far: said, and the statements of the docs cure it', async (t) => {
  const { superuser, ...variables } = await owned('handed_over')
  await query(superuser, 'alter database handed_over owner to serving')
  const migration = (statement: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`${statement}\`.execute(db)
`
  const old = { '99990101000000_old.ts': migration('create table old ()') }
  await boot(t, { DATABASE_URL: variables.DATABASE_URL }, migrationsFolder(t, old))
  const folder = migrationsFolder(t, {
    ...old,
    '99990102000000_new.ts': migration('alter table old add x text; set role serving'),
  })
  await t.rejects(boot(t, variables, folder), {
    code: 'MIGRATION_FAILED',
    message: /^role owner may not write public\.kysely_migration, which serving owns\..*docs\/database\.md/,
  })
  await query(
    superuser,
    `grant serving to owner;
     reassign owned by serving to owner;
     grant usage on schema public to serving;
     grant select, insert, update, delete on all tables in schema public to serving;
     grant usage, select on all sequences in schema public to serving`,
  )
  const app = await boot(t, variables, folder)
  t.match(app.migrations.state, { pending: [], unknown: [] })
  await app.pg.query('select x from old')
  await t.rejects(app.pg.query('delete from kysely_migration'), { code: '42501' })
})

t.test('what the URL asks of the server holds beside DATABASE_SCHEMA', async (t) => {
  const url = new URL(await database(t, { empty: true }))
  url.searchParams.set('options', '-c default_transaction_read_only=on')
  const migrator = await open(t, { DATABASE_URL: url.href, DATABASE_SCHEMA: 'app' })
  t.match((await migrator.migrateToLatest()).error, { code: '25006' })
})

t.test('behind PgBouncer the search_path of the role does what DATABASE_SCHEMA does', needsPgbouncer, async (t) => {
  const variables = await pooled(t, { empty: true })
  const { username, pathname } = new URL(variables.DATABASE_MIGRATION_URL)
  await query(
    variables.DATABASE_MIGRATION_URL,
    `create schema app; alter role ${username} in database ${pathname.slice(1)} set search_path = app, public`,
  )
  // Its connections of before have the search_path of before.
  await query(
    variables.DATABASE_MIGRATION_URL,
    `select pg_terminate_backend(pid, 60000) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`,
  )
  t.match((await boot(t, variables)).migrations.state, { pending: [], unknown: [] })
  t.same(await relations(variables.DATABASE_MIGRATION_URL, 'public'), [])
})

t.test(
  'PgBouncer that ignores what DATABASE_SCHEMA asks for: exit 1, for either of the two',
  needsPgbouncer,
  async (t) => {
    const direct = await database(t, { empty: true })
    const ignored = 'options,lock_timeout'
    const pgbouncer = await startPgbouncer(t, direct, { ignore_startup_parameters: ignored })
    const variables = { ...over(pgbouncer, direct), DATABASE_SCHEMA: 'app' }
    for (const more of [{}, { DATABASE_MIGRATION_URL: pgbouncer.url, DATABASE_SCHEMA: 'other' }]) {
      await t.rejects(boot(t, { ...variables, ...more }), {
        code: 'MIGRATION_FAILED',
        message: /^DATABASE_SCHEMA is \w+, and the search_path "\$user", public: a pooler ignores/,
      })
      t.same(await relations(direct, 'public'), [])
    }
    t.same(await relations(direct, 'other'), [])
  },
)
