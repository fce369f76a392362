import { chmodSync, chownSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { connectionOptions } from '../../src/database/connection.ts'
import { configure } from '../support/app.ts'
import { query, ROOT, shell, until } from '../support/helper.ts'
import { ELSEWHERE } from '../support/names.ts'
import { needsPgbouncer } from '../support/pgbouncer.ts'
import { startPgbouncer } from '../support/pgbouncer-server.ts'
import { Service } from '../support/process.ts'

const fixture = (name: string) => path.join(ROOT, 'test/fixtures', name)
/** It has signed the certificate of `database.example`. */
const AUTHORITY = fixture('authority.crt')
const OTHER = fixture('self-signed.crt')

/** PostgreSQL that a name other than this host's leads to, with a certificate for that name. */
async function server(t: Test, [certificate, key] = ['database.crt', 'database.key']) {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const [row] = await query<{ data_directory: string }>(postgres.url, 'show data_directory')
  const directory = row?.data_directory as string
  const { uid, gid } = statSync(directory)
  for (const [from, to] of [
    [certificate, 'server.crt'],
    [key, 'server.key'],
    ['authority.crt', 'root.crt'],
  ] as const) {
    const file = path.join(directory, to)
    copyFileSync(fixture(from), file)
    chmodSync(file, 0o600)
    chownSync(file, uid, gid) // PostgreSQL takes no key that another can read
  }
  const set = async (name: string, value: string) => {
    await query(postgres.url, `alter system set ${name} = '${value}'`)
    await query(postgres.url, 'select pg_reload_conf()')
    await until(
      () => query<Record<string, string>>(postgres.url, `show ${name}`),
      ([row]) => row?.[name] === value,
    )
  }
  const url = (said = '') => `${postgres.url.replace('@127.0.0.1:', '@database.example:')}?${said}`
  /** Who may log in over TLS, and how, as a line of pg_hba.conf has it. */
  const admit = async (method: string) => {
    const file = path.join(directory, 'pg_hba.conf')
    writeFileSync(file, `hostssl all all all ${method}\n${readFileSync(file, 'utf8')}`)
    await query(postgres.url, 'select pg_reload_conf()')
    const rules = "select auth_method from pg_hba_file_rules where type = 'hostssl' order by line_number limit 1"
    await until(
      () => query<{ auth_method: string }>(postgres.url, rules),
      ([row]) => row?.auth_method === method.split(' ')[0],
    )
  }
  return { here: postgres.url, set, url, admit }
}

/** PostgreSQL that speaks TLS. */
async function secure(t: Test, pair?: [string, string]) {
  const postgres = await server(t, pair)
  await postgres.set('ssl_ca_file', 'root.crt')
  await postgres.set('ssl', 'on')
  return postgres
}

const service = (t: Test, env: NodeJS.ProcessEnv, options = {}) =>
  new Service(t, { NODE_OPTIONS: ELSEWHERE, ...env }, options)

async function refuses(t: Test, env: NodeJS.ProcessEnv, err: object, options = {}): Promise<void> {
  const refused = service(t, env, options)
  t.equal(await refused.exited, 1)
  t.match(refused.fatal, { level: 60, err })
}

t.test('a database elsewhere is verified, whatever NODE_ENV is: authority and name', async (t) => {
  const postgres = await secure(t)
  const open = `select ssl from pg_stat_ssl join pg_stat_activity using (pid)
    where backend_type = 'client backend' and pid <> pg_backend_pid()`
  const right = service(t, { DATABASE_URL: postgres.url(`sslrootcert=${AUTHORITY}`), NODE_ENV: 'development' })
  await right.logged('ready')
  const rows = await query<{ ssl: boolean }>(postgres.here, open)
  t.ok(rows.length > 0 && rows.every(({ ssl }) => ssl), 'every connection is over TLS')

  const { hostname, port, password } = new URL(postgres.url())
  const variables = { POSTGRES_HOST: hostname, POSTGRES_PORT: port, POSTGRES_PASSWORD: password }
  await refuses(t, variables, { message: / signed it: POSTGRES_SSLROOTCERT=FILE\)$/ }, { source: ROOT })
  await service(t, { ...variables, POSTGRES_SSLROOTCERT: AUTHORITY }).logged('ready')
  await service(t, { ...variables, NODE_EXTRA_CA_CERTS: AUTHORITY }).logged('ready')
  t.notMatch(right.output, decodeURIComponent(password))

  // The certificate is not for that address.
  const byAddress = (said: string) => `${postgres.here}?${said}&sslrootcert=${AUTHORITY}`
  const otherName = { code: 'ERR_TLS_CERT_ALTNAME_INVALID', message: / set sslmode=verify-ca in DATABASE_URL,/ }
  await refuses(t, { DATABASE_URL: byAddress('sslmode=verify-full') }, otherName, { source: ROOT })
  await refuses(t, { DATABASE_URL: byAddress('sslmode=require') }, otherName)
  await service(t, { DATABASE_URL: byAddress('sslmode=verify-ca') }).logged('ready')
})

t.test('another authority is none, however Node is told to take all', async (t) => {
  const postgres = await secure(t)
  const lax = { NODE_TLS_REJECT_UNAUTHORIZED: '0' }
  for (const said of ['', 'sslmode=verify-full', `sslmode=verify-ca&sslrootcert=${OTHER}`])
    await refuses(
      t,
      { DATABASE_URL: postgres.url(said), ...lax },
      { code: /UNABLE_TO_VERIFY|SELF_SIGNED|LEAF_SIGNATURE/ },
    )
  const warned = service(t, { DATABASE_URL: postgres.url(`sslrootcert=${AUTHORITY}`), ...lax })
  await warned.logged('ready')
  t.match(await warned.logged('TLS is verified for the backends alone'), {
    level: 40,
    setting: 'NODE_TLS_REJECT_UNAUTHORIZED',
  })
})

t.test('a certificate that nobody signed: exit 1 at once, reason named; trusted by itself it will do', async (t) => {
  const postgres = await secure(t, ['self-signed.crt', 'self-signed.key'])
  const local = (said: string) => ({ DATABASE_URL: `${postgres.here}?sslmode=verify-full${said}` })
  const unsigned = { code: 'DEPTH_ZERO_SELF_SIGNED_CERT', message: / signed it: sslrootcert=FILE in DATABASE_URL\)$/ }
  await refuses(t, local(''), unsigned, { source: ROOT })
  await service(t, local(`&sslrootcert=${encodeURIComponent(OTHER)}`)).logged('ready')
})

t.test('a client with a certificate of its own needs no password', async (t) => {
  const postgres = await secure(t)
  await postgres.admit('cert')
  const DATABASE_URL = postgres.url(`sslrootcert=${AUTHORITY}`).replace(/:[^:@]*@/, '@')
  await refuses(t, { DATABASE_URL }, { code: '28000' })
  const own = `&sslcert=${fixture('client.crt')}&sslkey=${fixture('client.key')}`
  await service(t, { DATABASE_URL: DATABASE_URL + own }).logged('ready')
})

t.test('the connection has what its URL asks for', async (t) => {
  const postgres = await secure(t)
  const own = `sslcert=${fixture('client.crt')}&sslkey=${fixture('client.key')}&channel_binding=require`
  const DATABASE_URL = `${postgres.here}?sslmode=verify-ca&sslrootcert=${AUTHORITY}&${own}`
  const { Client = pg.Client, ...options } = connectionOptions(await configure(t, { DATABASE_URL }))
  const client = new Client(options)
  await client.connect()
  t.teardown(() => client.end())
  const { rows } = await client.query('select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()')
  t.same(rows, [{ ssl: true, client_dn: '/CN=postgres' }])
})

t.test('channel_binding=require logs in with it, and sends nothing where there is less', async (t) => {
  const postgres = await secure(t)
  const said = `sslrootcert=${AUTHORITY}&channel_binding=`
  await service(t, { DATABASE_URL: postgres.url(`${said}require`) }, { source: ROOT }).logged('ready')
  for (const method of ['password', 'trust', 'md5']) {
    await postgres.admit(method)
    if (method === 'md5') {
      await postgres.set('password_encryption', 'md5')
      await query(postgres.here, `alter role postgres password '${new URL(postgres.here).password}'`)
    }
    const message = 'The server does not offer channel binding (channel_binding=require)'
    await refuses(t, { DATABASE_URL: postgres.url(`${said}require`) }, { message }, { source: ROOT })
    await service(t, { DATABASE_URL: postgres.url(`${said}prefer`) }).logged('ready')
  }
})

t.test('a server without TLS where TLS is wanted: exit 1, and the setting that cures it', async (t) => {
  const postgres = await server(t)
  const cure = (setting: string) => ({ message: new RegExp(`does not support SSL .*${setting}\\)$`) })
  await refuses(t, { DATABASE_URL: postgres.url() }, cure('sslmode=disable in DATABASE_URL'))
  const { hostname, port, password } = new URL(postgres.url())
  const variables = { POSTGRES_HOST: hostname, POSTGRES_PORT: port, POSTGRES_PASSWORD: password }
  await refuses(t, variables, cure('POSTGRES_SSLMODE=disable'))
  const DATABASE_MIGRATION_URL = postgres.url()
  await refuses(
    t,
    { DATABASE_URL: postgres.here, DATABASE_MIGRATION_URL },
    cure('sslmode=disable in DATABASE_MIGRATION_URL'),
  )

  const clear = service(t, { DATABASE_URL: postgres.url('sslmode=disable') })
  await clear.logged('ready')
  const told = clear.logs.filter(({ msg }) => msg.includes('clear text'))
  t.match(told, [{ level: 30, settings: ['DATABASE_URL'] }], 'said once')
  t.equal(told.length, 1)
})

t.test('kysely and npm run types verify as the service does', async (t) => {
  const postgres = await secure(t)
  const byAddress = `${postgres.here}?sslmode=verify-ca&sslrootcert=${AUTHORITY}`
  for (const [DATABASE_URL, ...lax] of [
    [postgres.url(`sslrootcert=${AUTHORITY}&channel_binding=require`)],
    [byAddress, 'NODE_TLS_REJECT_UNAUTHORIZED'],
  ] as [string, ...string[]][]) {
    const env = { NODE_OPTIONS: ELSEWHERE, DATABASE_URL, ...Object.fromEntries(lax.map((name) => [name, '0'])) }
    t.match(await shell('kysely', ['migrate:latest'], env), /Ran \d+ migration|no new migrations/)
    t.match(await shell('node', ['dev/types.ts', '--verify'], env), /up-to-date/)
  }
  const production = { NODE_ENV: 'production', NODE_TLS_REJECT_UNAUTHORIZED: '0', DATABASE_URL: byAddress }
  await t.rejects(shell('kysely', ['migrate:latest'], production), {
    code: 1,
    stderr: /NODE_TLS_REJECT_UNAUTHORIZED=0 turns off/,
  })
})

t.test('PgBouncer that speaks TLS is verified too', needsPgbouncer, async (t) => {
  const postgres = await server(t)
  const pooler = await startPgbouncer(t, postgres.here, {
    client_tls_sslmode: 'allow', // the test's own look at it is clear text
    client_tls_cert_file: fixture('database.crt'),
    client_tls_key_file: fixture('database.key'),
  })
  const url = pooler.url.replace('@127.0.0.1:', '@database.example:')
  const env = { DATABASE_MIGRATION_URL: postgres.here, DATABASE_STATEMENT_TIMEOUT_MS: '0' }
  await service(t, { ...env, DATABASE_URL: `${url}?sslrootcert=${AUTHORITY}` }).logged('ready')
  await refuses(t, { ...env, DATABASE_URL: url }, { code: /UNABLE_TO_VERIFY/ })
  // It has no channel binding.
  const bound = { ...env, DATABASE_URL: `${url}?sslrootcert=${AUTHORITY}&channel_binding=require` }
  await refuses(t, bound, { message: /does not offer channel binding/ })
})
