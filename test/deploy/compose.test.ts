import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { cpSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import t from 'tap'
import { parse } from 'yaml'
import { composeVariables } from '../../dev/compose.ts'
import { freePort } from '../../dev/ports.ts'
import { build, configure, SETTINGS } from '../support/app.ts'
import { query, ROOT, until, within } from '../support/helper.ts'
import { offerTimescaledb } from '../time-series/timescaledb.ts'

interface Service {
  environment?: Record<string, unknown>
  healthcheck?: { test: string[] }
  ports?: string[]
  profiles?: string[]
  depends_on?: Record<string, unknown>
  cap_drop?: string[]
  stop_grace_period?: string
}

const files = globSync('deploy/*/compose.yaml', { cwd: ROOT }).map((file) =>
  readFileSync(path.join(ROOT, file), 'utf8'),
)
const text = files.join('')
const script = readFileSync(path.join(ROOT, 'deploy/compose/database.sh'), 'utf8')
const services: Record<string, Service> = Object.assign(
  {},
  ...files.map((file) => parse(file, { merge: true }).services),
)
const own = Object.entries(services).filter(([, { environment }]) => environment?.['POSTGRES_HOST'])

t.test('every variable without a default in the Compose file has one in .env.example, and each is used', async (t) => {
  const used = new Set(Array.from(text.matchAll(/\$\{(\w+)\}/g), ([, name]) => name))
  t.same([...used].sort(), composeVariables.map(([name]) => name).sort())
})

t.test('every service has a health check, and publishes its ports on this machine alone', async (t) => {
  for (const [name, { healthcheck, ports = [] }] of Object.entries(services)) {
    t.ok(healthcheck, name)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:\$\{PUBLISH_\w+\}:\d+$/)
  }
})

t.test('the service is configured by its own settings, and stops before Docker loses patience', async (t) => {
  const { SHUTDOWN_TIMEOUT_MS } = await configure(t, { DATABASE_URL: 'postgres://localhost/app' })
  const delayMs = 5_000 // SHUTDOWN_DELAY_MS in production
  t.ok(own.length >= 7)
  for (const [name, { environment = {}, healthcheck, stop_grace_period: grace = '' }] of own) {
    const { NODE_OPTIONS, ...settings } = environment
    t.match(NODE_OPTIONS, '--max-old-space-size-percentage=', name)
    if (healthcheck?.test) t.match(healthcheck.test, ['CMD', 'env', '-u', 'NODE_OPTIONS'], 'loads no agent')
    for (const variable of Object.keys(settings)) t.ok(variable in SETTINGS, `${name}: ${variable}`)
    t.ok(Number.parseInt(grace, 10) * 1000 > delayMs + SHUTDOWN_TIMEOUT_MS, name)
  }
})

t.test('no service keeps a capability that it does not name', async (t) => {
  for (const [name, { cap_drop }] of Object.entries(services)) t.same(cap_drop, ['ALL'], name)
})

// https://docs.docker.com/reference/compose-file/profiles/: names of this form; a dependency has no profile, or has it too.
t.test(
  'what starts only by its name has a profile that Compose documents, and so has what it depends on',
  async (t) => {
    for (const [name, { profiles = [], depends_on = {} }] of Object.entries(services)) {
      for (const profile of profiles) t.match(profile, /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/, name)
      for (const other of Object.keys(depends_on)) {
        const { profiles: of } = services[other] ?? {}
        t.ok(!of || (profiles.length > 0 && profiles.every((profile) => of.includes(profile))), `${name}: ${other}`)
      }
    }
  },
)

const compose = (args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) =>
  spawnSync('docker', ['compose', ...args], { cwd, env: { ...process.env, ...env }, encoding: 'utf8' })
const noCompose = compose(['version'], ROOT).status === 0 ? false : 'Docker Compose is not installed'

t.test('.env sets what concerns the service, and not where its backends are', { skip: noCompose }, async (t) => {
  const cwd = t.testdir()
  for (const file of ['compose.yaml', 'deploy', '.env.example', '.npmrc'])
    cpSync(path.join(ROOT, file), path.join(cwd, file), { recursive: true })
  const dev = 'HOST=127.0.0.1\nPORT=4000\nDATABASE_URL=postgres://localhost/app\nREDIS_URL=redis://localhost\n'
  const env = 'HEALTH_DETAILS=true\nPOSTGRES_SERVICE_PASSWORD=secret\nPOSTGRES_OWNER_PASSWORD=hidden\n'
  writeFileSync(path.join(cwd, '.env'), `${dev}${env}`)
  const { stdout, stderr } = compose(['--profile', 'variants', 'config', '--format', 'json'], cwd, { TRUST_PROXY: '1' })
  t.equal(stderr, '')
  const config = JSON.parse(stdout) as { services: Record<string, Service> }
  const set = config.services['migrated-service']?.environment ?? {}
  t.match(set, { HEALTH_DETAILS: 'true', TRUST_PROXY: '1', POSTGRES_PASSWORD: 'secret', REDIS_URL: /@redis:6379/ })
  for (const name of ['HOST', 'PORT', 'DATABASE_URL', 'DATABASE_MIGRATION_URL', 'DATABASE_POOL_MAX'])
    t.notOk(name in set, name)
  t.notMatch(JSON.stringify(set), 'hidden', "the owner's password")
})

const balancer = spawnSync('haproxy', ['-v']).error ? 'haproxy is not installed' : false

t.test('a client that sends its headers line by line, and never all, is cut off', { skip: balancer }, async (t) => {
  const port = await freePort()
  const shipped = readFileSync(path.join(ROOT, 'deploy/compose/haproxy.cfg'), 'utf8')
  const config = t.testdir({ 'haproxy.cfg': shipped.replace('bind :3000', `bind 127.0.0.1:${port}`) })
  const child = spawn('haproxy', ['-db', '-f', path.join(config, 'haproxy.cfg')], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const client = await until(
    () =>
      new Promise<ReturnType<typeof connect> | undefined>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => resolve(socket)).on('error', () => resolve(undefined))
      }),
    (socket) => socket !== undefined,
  )
  t.teardown(() => client?.destroy())
  client?.write('GET / HTTP/1.1\r\nhost: localhost\r\n')
  const drip = setInterval(() => client?.write('x-more: yes\r\n'), 500)
  t.teardown(() => clearInterval(drip))
  t.match(await within(textOf(client as NonNullable<typeof client>), () => 'still open'), /^HTTP\/1\.1 408 /)
})

const skip = spawnSync('psql', ['--version']).status === 0 ? false : 'psql is not installed'
const PASSWORDS = { OWNER_PASSWORD: 'owner', SERVICE_PASSWORD: 'service' }

/** Runs the init script, as a superuser of a new server. */
function initialise(url: URL, text = script): SpawnSyncReturns<string> {
  const { hostname: PGHOST, port: PGPORT, password: PGPASSWORD } = url
  const env = { PATH: process.env['PATH'], PGHOST, PGPORT, PGPASSWORD, ...PASSWORDS }
  return spawnSync('sh', ['-c', text], { env, encoding: 'utf8' })
}

/** The database's health check, as its container runs it. */
function check({ hostname, port }: URL): SpawnSyncReturns<string> {
  const [kind, command = ''] = services['database']?.healthcheck?.test ?? []
  const here = command.replaceAll('$$', '$').replace('--host=database', `--host=${hostname}`)
  const env = { PATH: process.env['PATH'], PGPORT: port, ...PASSWORDS }
  return spawnSync(kind === 'CMD-SHELL' ? here : 'false', { shell: true, env, encoding: 'utf8' })
}

for (const [how, broken] of [
  ['in the middle', script.replace(/^alter default .*$/m, 'select 1 / 0;')],
  ['at its last line but one', script.replace(/^(alter role .* login;)$/m, 'select 1 / 0;\n$1')],
  ['at its first line, with the line ends of Windows', script.replaceAll('\n', '\r\n')],
] as const) {
  t.test(`a database whose init script failed ${how} is not healthy`, { skip }, async (t) => {
    const url = new URL(await offerTimescaledb(t, { trusted: false }))
    t.not(initialise(url, broken).status, 0)
    t.not(check(url).status, 0)
  })
}

t.test('its roles migrate and serve, and bypass no row-level security', { skip }, async (t) => {
  const url = new URL(await offerTimescaledb(t, { trusted: false }))
  t.not(check(url).status, 0)
  const { status, stderr } = initialise(url)
  t.equal(status, 0, stderr)
  const healthy = check(url)
  t.equal(healthy.status, 0, healthy.stderr)
  t.notMatch(healthy.stdout + healthy.stderr, PASSWORDS.SERVICE_PASSWORD, 'no password is printed')
  // The names are those of the file: a service may have another name by now.
  const settings = Object.assign({}, ...own.map(([, { environment }]) => environment))
  const { POSTGRES_USER: user, POSTGRES_DB: pathname, DATABASE_MIGRATION_URL: migration } = settings
  const { username: owner } = new URL(migration)
  const as = (username: string, password: string) => Object.assign(url, { username, password, pathname }).href
  const variables = { DATABASE_URL: as(user, 'service'), DATABASE_MIGRATION_URL: as(owner, 'owner') }
  for (const DATABASE_SCHEMA of ['', 'apart'])
    t.equal((await build(t, { ...variables, DATABASE_SCHEMA })).lifecycle.phase, 'serving', DATABASE_SCHEMA)
  const bypassing = `select from pg_roles where rolname in ('${user}', '${owner}') and (rolsuper or rolbypassrls)`
  t.same(await query(variables.DATABASE_URL, bypassing), [])
  await t.rejects(query(variables.DATABASE_URL, 'delete from kysely_migration'), { code: '42501' })
})
