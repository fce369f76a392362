import { writeFile } from 'node:fs/promises'
import t from 'tap'
import { connectionOptions } from '../../src/database/connection.ts'
import { configure } from '../support/app.ts'
import { DATABASE_URL, eachIsOneProblem, secretFile } from '../support/settings.ts'

eachIsOneProblem(t, [
  [{ DATABASE_URL, POSTGRES_HOST: 'h' }, 'DATABASE_URL and POSTGRES_HOST are both set'],
  [{ DATABASE_URL, DATABASE_POOL_MIN: '3', DATABASE_POOL_MAX: '2' }, 'DATABASE_POOL_MIN is over DATABASE_POOL_MAX'],
  [
    { DATABASE_URL, DATABASE_QUERY_TIMEOUT_MS: '9', DATABASE_STATEMENT_TIMEOUT_MS: '10' },
    'DATABASE_QUERY_TIMEOUT_MS is not over DATABASE_STATEMENT_TIMEOUT_MS',
  ],
  [{ DATABASE_URL: 'postgres://user:hunter2@host:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ DATABASE_URL: `${DATABASE_URL}?sslrootcert=/does/not/exist` }, 'DATABASE_URL cannot be used (ENOENT)'],
  [{ DATABASE_URL: `${DATABASE_URL}?host=one,two` }, 'DATABASE_URL names several hosts where one can be'],
  [{ DATABASE_URL: 'postgres://' }, 'DATABASE_URL names no host'],
  [{ DATABASE_URL: `${DATABASE_URL}?sslmode=no%2Dverify` }, 'DATABASE_URL asks for TLS that verifies nothing'],
  [
    { DATABASE_URL: `${DATABASE_URL}?uselibpqcompat=true&sslmode=require` },
    'DATABASE_URL asks for TLS that verifies nothing',
  ],
])

t.test('a rotated password is read for the next connection', async (t) => {
  const url = await secretFile(t, DATABASE_URL)
  const password = await secretFile(t, 'first')
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
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production' }, true],
  [{ POSTGRES_HOST: 'db', NODE_ENV: 'production', POSTGRES_SSLMODE: 'disable' }, false],
  [{ POSTGRES_HOST: 'db', POSTGRES_SSLMODE: 'verify-full' }, true],
]
for (const [variables, ssl] of tls) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    t.same(connectionOptions(await configure(t, variables)).ssl, ssl)
  })
}
