import fastify from 'fastify'
import t from 'tap'
import { Type } from 'typebox'
import env from '../../../src/core/config/env.ts'
import { configure, unstarted } from '../../support/app.ts'
import { DATABASE_URL, eachIsOneProblem, problems, secretFile } from '../../support/settings.ts'

t.test('every default fills in, and the configuration is frozen', async (t) => {
  const config = await configure(t, { DATABASE_URL })
  t.match(config, { NODE_ENV: 'development', PORT: 3000, MIGRATIONS: 'run', READINESS_REQUIRES: ['database'] })
  t.throws(() => {
    config.PORT = 1
  }, TypeError)
})

t.test('an empty string is no value', async (t) => {
  t.equal((await configure(t, { DATABASE_URL, PORT: '' })).PORT, 3000)
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
      'HEALTH_TIMEOUT_MS must be <= 900',
      'DATABASE_URL must match pattern "^postgres(ql)?://"',
    ],
  )
})

t.test('Node that is told to verify no certificate is said, and refused in production', async (t) => {
  const lax = { DATABASE_URL, NODE_TLS_REJECT_UNAUTHORIZED: '0' }
  const app = await unstarted(t, { ...lax, MIGRATIONS: 'off' })
  const told = () => app.logs.filter(({ setting }) => setting === 'NODE_TLS_REJECT_UNAUTHORIZED')
  t.match(told(), [{ level: 40, msg: 'TLS is verified for the backends alone' }])
  t.same(await problems(t, { ...lax, NODE_ENV: 'production' }), [
    'NODE_TLS_REJECT_UNAUTHORIZED=0 turns off the verification of TLS',
  ])
  // Node reads no other value so.
  t.same(await problems(t, { ...lax, NODE_ENV: 'production', NODE_TLS_REJECT_UNAUTHORIZED: 'false' }), [])
})

eachIsOneProblem(t, [
  [
    { DATABASE_URL, DATABASE_MIGRATION_URL_FILE: '/does/not/exist' },
    'DATABASE_MIGRATION_URL_FILE cannot be read (ENOENT)',
  ],
])

t.test('a setting of the service itself that is required is named when it is missing', async (t) => {
  const app = fastify()
  t.teardown(() => app.close())
  const features = [{ name: 'payments', settings: { PAYMENTS_URL: Type.String(), PAYMENTS_KEY: Type.String() } }]
  await t.rejects(async () => app.register(env, { features, env: { PAYMENTS_KEY: 'x' } }), {
    message: 'configuration: PAYMENTS_URL is missing',
  })
})

t.test('a secret comes from its file, and not from two places', async (t) => {
  const name = await secretFile(t, `${DATABASE_URL}\n`)
  t.equal((await configure(t, { DATABASE_URL_FILE: name })).DATABASE_URL, DATABASE_URL)
  t.same(await problems(t, { DATABASE_URL_FILE: name, DATABASE_URL }), [
    'DATABASE_URL and DATABASE_URL_FILE are both set',
  ])
  t.same(await problems(t, { DATABASE_URL_FILE: await secretFile(t, '\n'), POSTGRES_HOST: 'h' }), [
    'DATABASE_URL_FILE names an empty file',
  ])
})
