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
      'PORT must be a whole number from 0 to 65535, in digits',
      'HEALTH_TIMEOUT_MS must be a whole number from 1 to 900, in digits',
      'DATABASE_URL must match pattern "^postgres(ql)?://"',
    ],
  )
})

t.test('a number is written in digits, a boolean as true or false, and nothing else is taken for one', async (t) => {
  // Of Ajv's own: 0, 0, Infinity, 1000, 16, 5, 0, 3000, 7, and the next number that JavaScript has.
  const refused = [' ', '\n', 'Infinity', '1e3', '0x10', '+5', '-0', '3000.0', '007', '9007199254740993']
  for (const value of [...refused, 'NaN', '1_000', '1,000', '٣', '3 000', '3s']) {
    for (const [name, range] of [
      ['PORT', '0 to 65535'],
      ['UNREAD_LIMIT_BYTES', `0 to ${Number.MAX_SAFE_INTEGER}`],
      ['SHUTDOWN_TIMEOUT_MS', '1 to 86400000'],
    ] as const) {
      const said = await problems(t, { DATABASE_URL, [name]: value })
      t.same(said, [`${name} must be a whole number from ${range}, in digits`], JSON.stringify(value))
    }
  }
  for (const value of [' ', '0', '1', 'TRUE', 'yes', 'on', 'null']) {
    t.same(await problems(t, { DATABASE_URL, HEALTH_DETAILS: value }), ['HEALTH_DETAILS must be true or false'], value)
  }
  t.match(await configure(t, { DATABASE_URL, PORT: ' 3000\n', HEALTH_DETAILS: ' true' }), {
    PORT: 3000,
    HEALTH_DETAILS: true,
  })
})

t.test('a number of the service itself is written so too, and may be negative or have a fraction', async (t) => {
  const settings = { RATE: Type.Number({ maximum: 1 }), OFFSET: Type.Integer({ multipleOf: 5 }) }
  const read = async (RATE: string, OFFSET: string) => {
    const app = fastify()
    t.teardown(() => app.close())
    await app.register(env, { features: [{ name: 'own', settings }], env: { RATE, OFFSET } })
    return app.config
  }
  t.match(await read('0.50', '-5'), { RATE: 0.5, OFFSET: -5 })
  for (const value of [' ', 'Infinity', '1e-1', '.5', '0x1']) {
    await t.rejects(read(value, '0'), { message: 'configuration: RATE must be a number, in digits' }, value)
  }
  await t.rejects(read('2', '4'), { message: 'configuration: RATE must be <= 1; OFFSET must be multiple of 5' })
})

t.test('a link of Kubernetes or Docker to a service of that name is said to be one', async (t) => {
  const links = {
    POSTGRES_PORT: 'tcp://10.0.0.5:5432',
    REDIS_PORT: 'tcp://10.0.0.6:6379',
    POSTGRES_SERVICE_HOST: '10.0.0.5',
  }
  const [problem, ...others] = await problems(t, { DATABASE_URL, ...links })
  t.match(problem, /^POSTGRES_PORT must be a whole number .* link .* enableServiceLinks: false$/)
  t.same(others, [])
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
