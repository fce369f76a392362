import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { urlsOfHosts } from '../src/config.ts'
import { connectionOptions } from '../src/database/connection.ts'
import type { ConfigError } from '../src/plugins/env.ts'
import { configure } from './app.ts'

const DATABASE_URL = 'postgres://user:hunter2@database.example/app'

async function problems(t: Test, variables: NodeJS.ProcessEnv): Promise<string[]> {
  const err = await configure(t, variables).then(
    () => undefined,
    (reason: ConfigError) => reason,
  )
  t.notMatch(err?.message, /hunter2/, 'no value of a secret')
  return err?.problems ?? []
}

async function file(t: Test, content: string): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'footing-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const name = path.join(directory, 'secret')
  await writeFile(name, content)
  return name
}

t.test('every default fills in, and the configuration is frozen', async (t) => {
  const config = await configure(t, { DATABASE_URL })
  t.match(config, { NODE_ENV: 'development', PORT: 3000, MIGRATIONS: 'run', READINESS_REQUIRES: ['database'] })
  t.throws(() => {
    config.PORT = 1
  }, TypeError)
})

t.test('an empty string is no value', async (t) => {
  t.equal((await configure(t, { DATABASE_URL, PORT: '', REDIS_URL: '' })).PORT, 3000)
  t.same(await problems(t, { DATABASE_URL: '' }), ['DATABASE_URL is missing (or POSTGRES_HOST)'])
})

t.test('readiness can require nothing, or both backends', async (t) => {
  t.same((await configure(t, { DATABASE_URL, READINESS_REQUIRES: '' })).READINESS_REQUIRES, [])
  t.same((await configure(t, { DATABASE_URL, READINESS_REQUIRES: 'database, redis' })).READINESS_REQUIRES, [
    'database',
    'redis',
  ])
})

t.test('all problems are listed at once, by name', async (t) => {
  t.same(
    await problems(t, {
      PORT: 'x',
      DATABASE_URL: 'mysql://hunter2@h/d',
      NODE_ENV: 'staging',
      HEALTH_TIMEOUT_MS: '950',
    }),
    [
      'NODE_ENV must be equal to one of the allowed values: development, test, production',
      'PORT must be integer',
      'DATABASE_URL must match pattern "^postgres(ql)?://"',
      'HEALTH_TIMEOUT_MS must be <= 900',
    ],
  )
})

const contradictions: [NodeJS.ProcessEnv, string][] = [
  [{ DATABASE_URL, POSTGRES_HOST: 'h' }, 'DATABASE_URL and POSTGRES_HOST are both set'],
  [{ DATABASE_URL, DATABASE_POOL_MIN: '3', DATABASE_POOL_MAX: '2' }, 'DATABASE_POOL_MIN is over DATABASE_POOL_MAX'],
  [
    { DATABASE_URL, DATABASE_QUERY_TIMEOUT_MS: '9', DATABASE_STATEMENT_TIMEOUT_MS: '10' },
    'DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS',
  ],
  [{ DATABASE_URL, READINESS_REQUIRES: 'kafka' }, 'READINESS_REQUIRES must be a list of: database,redis'],
  [{ DATABASE_URL: 'postgres://user:hunter2@host:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ DATABASE_URL: `${DATABASE_URL}?sslrootcert=/does/not/exist` }, 'DATABASE_URL cannot be used (ENOENT)'],
  [{ DATABASE_URL: `${DATABASE_URL}?host=one,two` }, 'DATABASE_URL names several hosts as a parameter'],
  [{ DATABASE_URL: 'postgres://user:hunter2@one,,two/db' }, 'DATABASE_URL names no host'],
  [{ DATABASE_URL: 'postgres://user:hunter2@one:5432,two:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ POSTGRES_HOST: 'one,' }, 'POSTGRES_HOST must match pattern "^[^\\s,]+(,[^\\s,]+)*$"'],
  [{ DATABASE_URL: 'postgres://' }, 'DATABASE_URL names no host'],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=no%2Dverify` }, 'DATABASE_URL asks for TLS that verifies nothing'],
  [
    { DATABASE_URL: `${DATABASE_URL}?uselibpqcompat=true&sslmode=require` },
    'DATABASE_URL asks for TLS that verifies nothing',
  ],
  [
    { DATABASE_URL, DATABASE_MIGRATION_URL_FILE: '/does/not/exist' },
    'DATABASE_MIGRATION_URL_FILE cannot be read (ENOENT)',
  ],
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host:port' }, 'REDIS_URL is not a URL of a Redis'],
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2%zz@host' }, 'REDIS_URL is not a URL of a Redis'],
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host/name' }, 'REDIS_URL is not a URL of a Redis'],
  [{ DATABASE_URL, REDIS_SENTINELS: 'one,two' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [{ DATABASE_URL, REDIS_SENTINEL_NAME: 'main' }, 'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together'],
  [
    { DATABASE_URL, REDIS_SENTINELS: 'one:26379,', REDIS_SENTINEL_NAME: 'main' },
    'REDIS_SENTINELS is not a list of host:port',
  ],
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'one:port' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [{ DATABASE_URL, REDIS_CLUSTER_NODES: 'user:hunter2@one' }, 'REDIS_CLUSTER_NODES is not a list of host:port'],
  [
    { DATABASE_URL, REDIS_SENTINELS: 'one', REDIS_SENTINEL_NAME: 'main', REDIS_CLUSTER_NODES: '[::1]:7000' },
    'REDIS_SENTINELS and REDIS_CLUSTER_NODES are both set',
  ],
  [
    { DATABASE_URL, REDIS_CLUSTER_NODES: 'one', REDIS_URL: 'redis://:hunter2@host/1' },
    'REDIS_URL names a database, of which a Redis Cluster has none',
  ],
]
for (const [variables, problem] of contradictions) {
  t.test(`a contradiction is an error: ${problem}`, async (t) => {
    t.same(await problems(t, variables), [problem])
  })
}

t.test('a secret comes from its file, and not from two places', async (t) => {
  const name = await file(t, `${DATABASE_URL}\n`)
  t.equal((await configure(t, { DATABASE_URL_FILE: name })).DATABASE_URL, DATABASE_URL)
  t.same(await problems(t, { DATABASE_URL_FILE: name, DATABASE_URL }), [
    'DATABASE_URL and DATABASE_URL_FILE are both set',
  ])
  t.same(await problems(t, { DATABASE_URL_FILE: await file(t, '\n'), POSTGRES_HOST: 'h' }), [
    'DATABASE_URL_FILE names an empty file',
  ])
})

t.test('a rotated password is read for the next connection', async (t) => {
  const url = await file(t, DATABASE_URL)
  const password = await file(t, 'first')
  const byUrl = connectionOptions(await configure(t, { DATABASE_URL_FILE: url }))
  const byVariables = connectionOptions(await configure(t, { POSTGRES_HOST: 'h', POSTGRES_PASSWORD_FILE: password }))
  t.same(await Promise.all([byUrl, byVariables].map(passwordOf)), ['hunter2', 'first'])
  await writeFile(url, DATABASE_URL.replace('hunter2', 'hunter3'))
  await writeFile(password, 'second')
  t.same(await Promise.all([byUrl, byVariables].map(passwordOf)), ['hunter3', 'second'])
})

function passwordOf({ password }: ReturnType<typeof connectionOptions>): unknown {
  return (password as () => Promise<string>)()
}

t.test('the POSTGRES_ variables of a Docker user name the database', async (t) => {
  t.match(connectionOptions(await configure(t, { POSTGRES_HOST: 'db', POSTGRES_USER: 'me' })), {
    host: 'db',
    port: 5432,
    user: 'me',
    database: 'me',
    ssl: false,
  })
})

t.test('a URL can name several hosts, each with a port of its own', async (t) => {
  t.same(urlsOfHosts('postgres://user:a,b@one,two:5433/app?sslmode=disable#,'), [
    'postgres://user:a,b@one/app?sslmode=disable#,',
    'postgres://user:a,b@two:5433/app?sslmode=disable#,',
  ])
  t.same(urlsOfHosts('postgres://one,[::1]:5433'), ['postgres://one', 'postgres://[::1]:5433'])
  t.same(urlsOfHosts('one,two'), ['one,two'], 'what is no URL is left as it is')
})

t.test('migrations have a connection of their own where one is named', async (t) => {
  const DATABASE_MIGRATION_URL = 'postgres://owner:hunter2@direct.example/app'
  const config = await configure(t, { DATABASE_URL, DATABASE_MIGRATION_URL })
  t.match(connectionOptions(config), { host: 'database.example', user: 'user' })
  t.match(connectionOptions(config, 'migration'), { host: 'direct.example', user: 'owner' })
})

const tls: [NodeJS.ProcessEnv, boolean | object][] = [
  [{ DATABASE_URL }, false],
  [{ DATABASE_URL, NODE_ENV: 'production' }, true],
  [{ DATABASE_URL: 'postgres://user@localhost/app', NODE_ENV: 'production' }, false],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=disable`, NODE_ENV: 'production' }, false],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=require` }, {}],
  [{ DATABASE_URL: 'postgres://user@localhost,other/app', NODE_ENV: 'production' }, true],
  [{ DATABASE_URL: 'postgres://user@localhost,127.0.0.2:5433/app', NODE_ENV: 'production' }, false],
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production' }, true],
  [{ POSTGRES_HOST: 'localhost,db', NODE_ENV: 'production' }, true],
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production', POSTGRES_SSLMODE: 'disable' }, false],
  [{ POSTGRES_HOST: 'db', POSTGRES_SSLMODE: 'verify-full' }, true],
]
for (const [variables, ssl] of tls) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    t.same(connectionOptions(await configure(t, variables)).ssl, ssl)
  })
}
