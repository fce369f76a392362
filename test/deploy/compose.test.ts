import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { composeVariables } from '../../dev/compose.ts'
import { build, configure, SETTINGS } from '../support/app.ts'
import { query, ROOT } from '../support/helper.ts'
import { offerTimescaledb } from '../time-series/timescaledb.ts'

interface Service {
  environment?: Record<string, unknown>
  healthcheck?: unknown
  ports?: string[]
  stop_grace_period?: string
}

const text = readFileSync(path.join(ROOT, 'deploy/compose/services.yaml'), 'utf8')
const { services } = parse(text, { merge: true }) as { services: Record<string, Service> }
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
  t.equal(own.length, 7)
  for (const [name, { environment = {}, stop_grace_period: grace = '' }] of own) {
    for (const variable of Object.keys(environment)) t.ok(variable in SETTINGS, `${name}: ${variable}`)
    t.ok(Number.parseInt(grace, 10) * 1000 > delayMs + SHUTDOWN_TIMEOUT_MS, name)
  }
})

const skip = spawnSync('psql', ['--version']).status === 0 ? false : 'psql is not installed'

t.test('its roles migrate and serve, and bypass no row-level security', { skip }, async (t) => {
  const url = new URL(await offerTimescaledb(t, { trusted: false }))
  const { status, stderr } = spawnSync('sh', [path.join(ROOT, 'deploy/compose/database.sh')], {
    env: {
      PATH: process.env['PATH'],
      PGHOST: url.hostname,
      PGPORT: url.port,
      PGPASSWORD: url.password,
      OWNER_PASSWORD: 'owner',
      SERVICE_PASSWORD: 'service',
    },
  })
  t.equal(status, 0, String(stderr))
  // The names are those of the file: a service may have another name by now.
  const settings = Object.assign({}, ...own.map(([, { environment }]) => environment))
  const { POSTGRES_USER: user, POSTGRES_DB: pathname, DATABASE_MIGRATION_URL: migration } = settings
  const { username: owner } = new URL(migration)
  const as = (username: string, password: string) => Object.assign(url, { username, password, pathname }).href
  const variables = { DATABASE_URL: as(user, 'service'), DATABASE_MIGRATION_URL: as(owner, 'owner') }
  t.equal((await build(t, variables)).lifecycle.phase, 'serving')
  const bypassing = `select from pg_roles where rolname in ('${user}', '${owner}') and (rolsuper or rolbypassrls)`
  t.same(await query(variables.DATABASE_URL, bypassing), [])
  await t.rejects(query(variables.DATABASE_URL, 'delete from kysely_migration'), { code: '42501' })
})
