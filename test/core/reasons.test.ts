import t from 'tap'
import '../../src/app.ts' // whose features tell what the errors of their backends mean
import { isPermanent, REASONS, reasonOf, redact } from '../../src/core/reasons.ts'

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code })

const known: [Error | string, string][] = [
  [withCode('ECONNREFUSED'), 'refused'],
  [withCode('EAI_AGAIN'), 'unreachable'],
  [withCode('53300'), 'limit'],
  [withCode('57P03'), 'loading'],
  [withCode('28P01'), 'auth'],
  [withCode('25006'), 'readonly'],
  [withCode('57014', 'canceling statement due to statement timeout'), 'error'],
  [new Error('Command timed out'), 'timeout'],
  [new Error('Query read timeout'), 'timeout'],
  [new Error('timeout exceeded when trying to connect'), 'timeout'],
  [new Error('Connection terminated unexpectedly'), 'refused'],
  [new Error('Postgres connection has been discarded'), 'refused'],
  [new Error('WRONGPASS invalid username-password pair'), 'auth'],
  [new Error('LOADING Redis is loading the dataset in memory'), 'loading'],
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

t.test('the log gets code and message of an error and no more', async (t) => {
  const err = Object.assign(withCode('X', 'refused'), { command: { name: 'hello', args: ['hunter2'] } })
  t.same(redact(err), { code: 'X', message: 'refused' })
  t.same(redact('text'), { code: undefined, message: 'text' })
  t.same([reasonOf(undefined), redact(undefined).message], ['error', 'undefined'])
})
