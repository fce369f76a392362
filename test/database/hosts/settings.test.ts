import t from 'tap'
import { connectionOptions } from '../../../src/database/connection.ts'
import hosts from '../../../src/database/hosts/index.ts'
import { configure } from '../../support/app.ts'
import { DATABASE_URL, eachIsOneProblem } from '../../support/settings.ts'

eachIsOneProblem(t, [
  [{ DATABASE_URL: 'postgres://user:hunter2@one,,two/db' }, 'DATABASE_URL names no host'],
  [{ DATABASE_URL: 'postgres://user:hunter2@one:5432,two:port/db' }, 'DATABASE_URL cannot be used (ERR_INVALID_URL)'],
  [{ POSTGRES_HOST: 'one,' }, 'POSTGRES_HOST must match pattern "^[^\\s,]+(,[^\\s,]+)*$"'],
  [{ DATABASE_URL: `${DATABASE_URL}?host=one,two` }, 'DATABASE_URL names several hosts where one can be'],
])

t.test('a URL can name several hosts, each with a port of its own', async (t) => {
  t.same(hosts.urls('postgres://user:a,b@one,two:5433/app?sslmode=disable#,'), [
    'postgres://user:a,b@one/app?sslmode=disable#,',
    'postgres://user:a,b@two:5433/app?sslmode=disable#,',
  ])
  t.same(hosts.urls('postgres://one,[::1]:5433'), ['postgres://one', 'postgres://[::1]:5433'])
  t.same(hosts.urls('one,two'), ['one,two'], 'what is no URL is left as it is')
})

const tls: [NodeJS.ProcessEnv, boolean | object][] = [
  [{ DATABASE_URL: 'postgres://user@localhost,other/app', NODE_ENV: 'production' }, true],
  [{ DATABASE_URL: 'postgres://user@localhost,127.0.0.2:5433/app', NODE_ENV: 'production' }, false],
  [{ POSTGRES_HOST: 'localhost,db', NODE_ENV: 'production' }, true],
]
for (const [variables, ssl] of tls) {
  t.test(`TLS of ${JSON.stringify(variables)} is ${JSON.stringify(ssl)}`, async (t) => {
    t.same(connectionOptions(await configure(t, variables)).ssl, ssl)
  })
}
