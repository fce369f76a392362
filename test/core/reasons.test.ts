import t from 'tap'
import '../../src/app.ts' // whose features tell what the errors of their backends mean
import { isPermanent, REASONS, reasonOf, redact } from '../../src/core/reasons.ts'

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code })

/** What PgBouncer tells everybody while its last attempt to reach the server stands for all. */
const cached = (message: string) =>
  withCode('08P01', `server login has been failing, cached error: ${message} (server_login_retry)`)

const known: [Error | string, string][] = [
  [withCode('ECONNREFUSED'), 'refused'],
  [withCode('EAI_AGAIN'), 'unreachable'],
  [withCode('53300'), 'limit'],
  [withCode('57P03'), 'loading'],
  [withCode('28P01'), 'auth'],
  [withCode('25006'), 'readonly'],
  [withCode('57014', 'canceling statement due to statement timeout'), 'timeout'],
  [withCode('25P03'), 'timeout'],
  [withCode('25P04'), 'timeout'],
  [withCode('25P02'), 'error'],
  [withCode('08007'), 'error'],
  [withCode('57P05'), 'refused'],
  [withCode('53100'), 'limit'],
  [withCode('58030'), 'error'],
  [withCode('08P01', 'server login has been failing, try again later (server_login_retry)'), 'unreachable'],
  [
    withCode('08P01', 'server login has been failing, cached error: connect failed (server_login_retry)'),
    'unreachable',
  ],
  [cached('the database system is starting up'), 'loading'],
  [cached('sorry, too many clients already'), 'limit'],
  [cached('password authentication failed for user "x"'), 'auth'],
  [cached('connect timeout'), 'timeout'],
  [withCode('08P01', 'no more connections allowed (max_client_conn)'), 'limit'],
  [withCode('08P01', 'client connections exceeded (max_db_client_connections)'), 'limit'],
  [withCode('08P01', 'query_wait_timeout'), 'timeout'],
  [withCode('08P01', 'idle transaction timeout'), 'timeout'],
  [withCode('08P01', 'client_login_timeout (server down)'), 'timeout'],
  [withCode('08P01', 'client_idle_timeout'), 'refused'],
  [withCode('08P01', 'pgbouncer cannot connect to server'), 'unreachable'],
  [withCode('08P01', 'server conn crashed?'), 'refused'],
  [withCode('08P01', 'server shutting down'), 'refused'],
  [withCode('08P01', 'bouncer config error'), 'refused'],
  [withCode('08P01', 'no such user'), 'auth'],
  [withCode('08P01', 'server login failed: wrong password type'), 'auth'],
  [withCode('08P01', 'unsupported startup parameter: statement_timeout'), 'error'],
  [withCode('08P01', 'prepared statement did not exist'), 'error'],
  [withCode('08P01', 'invalid frontend message type 88'), 'error'],
  [withCode('58000', 'could not get connection from the pool - AllServersDown'), 'unreachable'],
  [withCode('XX000', '(EMAXCONN) max client connections reached, limit: 200'), 'limit'],
  [withCode('XX000', '(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 5000ms'), 'timeout'],
  [withCode('XX000', 'cache lookup failed for type 1'), 'error'],
  [new Error('query_wait_timeout'), 'error'],
  [new Error('Client was closed and is not queryable'), 'refused'],
  [new Error('Client has encountered a connection error and is not queryable'), 'refused'],
  [new Error('Command timed out'), 'timeout'],
  [new Error('Query read timeout'), 'timeout'],
  [new Error('timeout exceeded when trying to connect'), 'timeout'],
  [new Error('Connection terminated unexpectedly'), 'refused'],
  [new Error('Postgres connection has been discarded'), 'refused'],
  [new Error('WRONGPASS invalid username-password pair'), 'auth'],
  [new Error('LOADING Redis is loading the dataset in memory'), 'loading'],
  [new Error('MASTERDOWN Link with MASTER is down'), 'loading'],
  [new Error('MISCONF Redis is configured to save RDB snapshots'), 'readonly'],
  [new Error('BUSY Redis is busy running a script.'), 'timeout'],
  [new Error('ERR max number of clients reached'), 'limit'],
  [withCode('DEPTH_ZERO_SELF_SIGNED_CERT'), 'error'],
  [new Error('anything else'), 'error'],
  [withCode('42703', 'column "timeout_ms" does not exist'), 'error'],
  [withCode('P0001', 'READONLY mode'), 'error'],
  [new TypeError('toString is not a function'), 'error'],
  ['not even an error', 'error'],
]

for (const [err, reason] of known) {
  t.test(`${err} is ${reason}`, async (t) => {
    t.equal(reasonOf(err), reason)
    t.ok(REASONS.includes(reasonOf(err)))
  })
}

t.test('no retry cures a wrong password, a missing database, a bad certificate', async (t) => {
  for (const code of ['28P01', '3D000', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_TLS_CERT_ALTNAME_INVALID']) {
    t.ok(isPermanent(withCode(code)), code)
  }
  t.ok(isPermanent(new Error('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string')))
  t.ok(isPermanent(new Error('The server does not support SSL connections')))
  for (const code of ['ECONNREFUSED', '53300', '57P03']) t.notOk(isPermanent(withCode(code)), code)
})

t.test('a pooler says by the message alone whether a retry cures it', async (t) => {
  for (const said of [
    'unsupported startup parameter: statement_timeout',
    'unsupported startup parameter in options: search_path',
    'SASL authentication failed',
    'no such user',
    'no such database: app',
    'database "app" does not exist',
    'role "app" does not exist',
    'SSL required',
  ]) {
    t.ok(isPermanent(withCode('08P01', said)), said)
    t.notOk(isPermanent(new Error(said)), `not of ${said} without the code`)
  }
  for (const said of ['no more connections allowed (max_client_conn)', 'query_wait_timeout', 'server conn crashed?']) {
    t.notOk(isPermanent(withCode('08P01', said)), said)
  }
  t.ok(isPermanent(withCode('XX000', '(ENOTFOUND) tenant/user app not found')))
})

t.test('the log gets code and message of an error and no more', async (t) => {
  const err = Object.assign(withCode('X', 'refused'), { command: { name: 'hello', args: ['hunter2'] } })
  t.same(redact(err), { code: 'X', message: 'refused' })
  t.same(redact('text'), { code: undefined, message: 'text' })
  t.same([reasonOf(undefined), redact(undefined).message], ['error', 'undefined'])
  for (const odd of [{ message: 5 }, { message: {} }, Object.create(null)]) {
    t.same([reasonOf(odd), redact(odd).message], ['error', 'an object without a message'])
  }
})
