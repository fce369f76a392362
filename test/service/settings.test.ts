import { createRequire } from 'node:module'
import t from 'tap'
import { Type } from 'typebox'
import { compiledSettings } from '../../dev/compiled-settings.ts'
import { features } from '../../src/app.ts'
import { settingsOf } from '../../src/core/config/env.ts'

type EnvSchema = (options: { schema: object; data: object; env: false }) => object

const require = createRequire(createRequire(import.meta.resolve('@fastify/env')).resolve('env-schema'))
const envSchema: EnvSchema = require('env-schema')
// env-schema compiles each object once.
const schema = settingsOf(features)

/** What the build has in place of env-schema, as a module of the same place. */
function compiled(schema: object): EnvSchema {
  const module = { exports: {} as EnvSchema }
  new Function('module', 'exports', 'require', compiledSettings(schema))(module, module.exports, require)
  return module.exports
}

/** The settings, or what is wrong with them. */
function read(by: EnvSchema, data: object, of: object = schema) {
  try {
    return by({ schema: of, data, env: false })
  } catch (err) {
    return (err as { errors: unknown }).errors
  }
}

const VALUES = [
  '',
  ' ',
  '0',
  '1',
  '-1',
  '00',
  '1.5',
  '1e3',
  '65536',
  '99999999999',
  'true',
  'false',
  'TRUE',
  'null',
  'a',
  'a,b',
  ',',
  'info',
  'production',
  'postgres://localhost/x',
  'x'.repeat(300),
  'ä',
  '__proto__',
]

t.test('the build reads each setting as env-schema does', async (t) => {
  const build = compiled(schema)
  const names = [...Object.keys(schema.properties), 'NO_SETTING']
  const one = names.flatMap((name) => VALUES.map((value) => ({ [name]: value })))
  const many = Array.from({ length: 3_000 }, () => {
    const chosen = names.filter(() => Math.random() < 0.2)
    return Object.fromEntries(chosen.map((name) => [name, VALUES[Math.floor(Math.random() * VALUES.length)]]))
  })
  const differ = [{}, ...one, ...many].filter(
    (data) => JSON.stringify(read(build, data)) !== JSON.stringify(read(envSchema, data)),
  )
  t.same(differ, [])
  t.ok(Array.isArray(read(build, { PORT: 'a' })), 'of which some are wrong')
})

t.test('and settings of kinds that only a service of yours has', async (t) => {
  const yours = Type.Object({
    LETTERS: Type.Optional(Type.String({ pattern: '^\\p{L}+$', maxLength: 4 })),
    NUMBERS: Type.Optional(Type.Unsafe({ ...Type.Array(Type.Integer()), uniqueItems: true, separator: ',' })),
    WORDS: Type.Unsafe({ type: 'string', separator: '.', default: 'a.b' }),
    EITHER: Type.Union([Type.Integer(), Type.String({ minLength: 2 })]),
  })
  const build = compiled(yours)
  const all = Object.keys(yours.properties).flatMap((name) =>
    [...VALUES, '1,2'].map((value) => ({ EITHER: '1', [name]: value })),
  )
  const differ = [{}, ...all].filter(
    (data) => JSON.stringify(read(build, data, yours)) !== JSON.stringify(read(envSchema, data, yours)),
  )
  t.same(differ, [])
  t.match(read(build, { EITHER: '1', NUMBERS: '1,2' }, yours), { NUMBERS: [1, 2] })
})
