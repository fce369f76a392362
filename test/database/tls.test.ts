import path from 'node:path'
import t from 'tap'
import { clearText, connectionOptions } from '../../src/database/connection.ts'
import { configure, unstarted } from '../support/app.ts'
import { ROOT, sharedDatabase } from '../support/helper.ts'
import { DATABASE_URL, eachIsOneProblem } from '../support/settings.ts'

const VERIFIED = { rejectUnauthorized: true }
const production = { NODE_ENV: 'production' }
const url = (rest: string) => ({ DATABASE_URL: `postgres://user:hunter2@${rest}${rest.includes('/') ? '' : '/app'}` })
const asked = (parameters: string) => ({ DATABASE_URL: `${DATABASE_URL}?${parameters}` })

const cases: [NodeJS.ProcessEnv, false | object][] = [
  [url('localhost'), false],
  [url('%6cocalhost'), false],
  [url('LOCALHOST'), false],
  [url('localhost.evil.com'), VERIFIED],
  [url('database.example'), VERIFIED],
  [url('2130706433'), VERIFIED],
  [url('localhost/app?host=database.example'), VERIFIED],
  [url('database.example/app?host=localhost'), false],
  [url('database.example/app?host=localhost&host=database.example'), VERIFIED],
  [url('localhost/app?connectionString=postgres%3A%2F%2Fu@database.example'), false],
  [{ POSTGRES_HOST: '/var/run/postgresql', ...production }, false],
  [{ ...url('localhost'), ...production }, false],
  [{ ...url('127.0.0.1.evil.com'), ...production }, VERIFIED],
  // A private development address is one outside production.
  [url('db'), false],
  [url('10.1.2.3'), false],
  [url('[fd00::1]'), false],
  [{ POSTGRES_HOST: 'db' }, false],
  [{ ...url('db'), ...production }, VERIFIED],
  [{ POSTGRES_HOST: 'db', ...production }, VERIFIED],
  [{ ...url('app.localhost'), ...production }, VERIFIED],
  [{ ...url('localhost.'), ...production }, VERIFIED],
  [{ POSTGRES_HOST: 'db.example' }, VERIFIED],
  [{ POSTGRES_HOST: 'db.example', POSTGRES_SSLMODE: 'disable', ...production }, false],
  [{ POSTGRES_HOST: 'localhost', POSTGRES_SSLMODE: 'verify-full' }, VERIFIED],
  // What is said counts, whatever the host is.
  [{ ...asked('sslmode=disable'), ...production }, false],
  [asked('sslmode=disable&sslrootcert=/does/not/exist'), false],
  ...[
    ...['sslmode=verify-full', 'sslmode=require', 'sslmode=prefer', 'ssl=true', 'ssl=1', 'sslmode=require&sslsni=1'],
    // Said twice, or of what holds anyway.
    ...['ssl=true&sslmode=require', 'sslmode=require&sslmode=require', 'sslmode=require&sslcompression=0'],
    ...['sslmode=require&ssl_min_protocol_version=TLSv1.2', 'sslmode=require&sslaccept=strict'],
  ].map((said): [NodeJS.ProcessEnv, object] => [url(`localhost/app?${said}`), VERIFIED]),
  [url('localhost/app?sslnegotiation=direct'), VERIFIED],
  [url('localhost/app?channel_binding=require'), VERIFIED],
  [url('localhost/app?sslrootcert=system'), VERIFIED],
  // What others put into their URLs, and pg ignores.
  [url('localhost/app?channel_binding=prefer&sslnegotiation=postgres&pgbouncer=true&connect_timeout=5'), false],
]
for (const [variables, ssl] of cases) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    const { Client, ...options } = connectionOptions(await configure(t, variables))
    t.same(options.ssl, ssl)
    const client = Client && new Client(options)
    t.equal(client?.host, options.host)
    t.same(client?.ssl, ssl, 'pg takes it so')
  })
}

t.test('an own authority is read from its file, and verify-ca leaves out the name', async (t) => {
  const file = path.join(ROOT, 'package.json')
  for (const [variables, checksName] of [
    [asked(`sslrootcert=${file}`), true],
    [asked(`sslmode=verify-ca&sslrootcert=${file}`), false],
    [{ POSTGRES_HOST: 'localhost', POSTGRES_SSLROOTCERT: file }, true],
    [{ POSTGRES_HOST: 'h', POSTGRES_SSLMODE: 'verify-ca', POSTGRES_SSLROOTCERT: file }, false],
  ] as [NodeJS.ProcessEnv, boolean][]) {
    const { ssl } = connectionOptions(await configure(t, variables))
    t.match(ssl, { ...VERIFIED, ca: /"name"/ })
    const { checkServerIdentity } = ssl as { checkServerIdentity?: () => undefined }
    t.equal(!checkServerIdentity, checksName)
    t.equal(checkServerIdentity?.(), undefined)
  }
})

t.test('parameters reach pg as they are meant', async (t) => {
  const { Client, ...options } = connectionOptions(
    await configure(t, url('localhost:1/app?user=me&password=a%20b&port=5&options=-c%20x=1&query_timeout=7')),
  )
  const client = Client && new Client(options)
  t.match(client, { user: 'me', password: 'a b', port: 5, host: 'localhost', database: 'app' })
  t.match(options, { options: '-c x=1', query_timeout: '7' })
})

t.test('clear text to another host is told by the settings that ask for it', async (t) => {
  const told = async (variables: NodeJS.ProcessEnv) => clearText(await configure(t, variables))
  t.same(await told(url('localhost')), [])
  t.same(await told({ DATABASE_URL }), [])
  t.same(await told(asked('sslmode=disable')), ['DATABASE_URL'])
  t.same(await told(url('db')), ['DATABASE_URL'])
  t.same(await told({ POSTGRES_HOST: 'db', ...production, POSTGRES_SSLMODE: 'disable' }), ['POSTGRES_HOST'])
  const DATABASE_MIGRATION_URL = `${DATABASE_URL}?sslmode=disable`
  t.same(await told({ DATABASE_URL, DATABASE_MIGRATION_URL }), ['DATABASE_MIGRATION_URL'])
  t.same(await told({ ...asked('sslmode=disable'), DATABASE_MIGRATION_URL }), [
    'DATABASE_URL',
    'DATABASE_MIGRATION_URL',
  ])
})

t.test('it is said once at boot', async (t) => {
  const app = await unstarted(t, { ...asked('sslmode=disable'), MIGRATIONS: 'off' })
  const told = app.logs.filter(({ msg }) => msg.endsWith('spoken to in clear text'))
  t.match(told, [{ level: 30, settings: ['DATABASE_URL'] }])
  t.equal(told.length, 1)
  t.notMatch(JSON.stringify(told), /hunter2/)
})

t.test('a server without TLS: the error names the setting that lets it be', async (t) => {
  const clear = await sharedDatabase()
  const app = await unstarted(t, { DATABASE_URL: `${clear}?sslmode=verify-full` })
  await t.rejects(
    app.lifecycle.start(),
    /SSL connections \(give it TLS, or trust the network and set sslmode=disable in/,
  )
  const { hostname, port } = new URL(clear)
  const variables = { POSTGRES_HOST: hostname, POSTGRES_PORT: port, POSTGRES_SSLMODE: 'verify-full' }
  const other = await unstarted(t, { DATABASE_URL: '', ...variables })
  await t.rejects(other.lifecycle.start(), /set POSTGRES_SSLMODE=disable\)$/)
})

const mode = 'has sslmode, which takes disable, prefer, require, verify-ca, verify-full'
const ssl = 'has ssl, which takes true: for all else write sslmode=disable or sslmode=verify-full in its place'
const ca =
  'has sslmode=verify-ca, which takes the file of an authority of your own in sslrootcert: else use verify-full'
const refused = (name: string) => `has ${name}, which is refused: say in sslmode what is wanted`
const problems: [string, string][] = [
  ...['sslmode=no%2Dverify', 'sslmode=allow', 'sslmode=Require', 'sslmode=', 'sslmode=true'].map(
    (said): [string, string] => [said, mode],
  ),
  ['%73slmode=no-verify', mode],
  ...['ssl=require', 'ssl=no-verify', 'ssl=0', 'ssl=false', 'ssl=', 'ssl={"rejectUnauthorized":false}'].map(
    (said): [string, string] => [said, ssl],
  ),
  ['ssl=true&sslmode=disable', 'has both ssl and sslmode=disable'],
  ['sslmode=verify-full&sslmode=disable', 'says sslmode twice'],
  ['uselibpqcompat=true&sslmode=verify-ca&sslrootcert=/dev/null', refused('uselibpqcompat')],
  ['uselibpqcompat=true&sslmode=require', refused('uselibpqcompat')],
  ['SSLMODE=disable', refused('SSLMODE')],
  ['tls=true', refused('tls')],
  ['sslcrl=/dev/null', refused('sslcrl')],
  ['sslpassword=hunter2', refused('sslpassword')],
  ['ssl_min_protocol_version=TLSv1.3', 'has ssl_min_protocol_version, which takes TLSv1, TLSv1.1, TLSv1.2'],
  ['sslaccept=accept_invalid_certs', 'has sslaccept, which takes strict'],
  ['sslmode=verify-ca', ca],
  ['sslmode=verify-ca&sslrootcert=system', ca],
  ['sslrootcert=', 'has sslrootcert, which takes the path of a file'],
  ['sslcert=/dev/null', 'has one of sslcert and sslkey without the other'],
  ['sslmode=disable&channel_binding=require', 'has sslmode=disable, and asks for what only TLS has'],
  ['sslmode=disable&sslnegotiation=direct', 'has sslmode=disable, and asks for what only TLS has'],
  ['channel_binding=yes', 'has channel_binding, which takes disable, prefer, require'],
]
eachIsOneProblem(t, [
  ...problems.map(([said, problem]): [NodeJS.ProcessEnv, string] => [asked(said), `DATABASE_URL ${problem}`]),
  [{ DATABASE_URL, DATABASE_MIGRATION_URL: `${DATABASE_URL}?ssl=no-verify` }, `DATABASE_MIGRATION_URL ${ssl}`],
  [
    { POSTGRES_HOST: 'h', POSTGRES_SSLMODE: 'verify-ca' },
    'POSTGRES_SSLMODE=verify-ca takes the file of an authority of your own in POSTGRES_SSLROOTCERT',
  ],
  [{ POSTGRES_HOST: 'h', POSTGRES_SSLROOTCERT: '/does/not/exist' }, 'POSTGRES_SSLROOTCERT cannot be read (ENOENT)'],
])
