import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { loadDevelopment, loadEnvFile, namesDatabase } from '../../../src/core/config/env-file.ts'

/** What `.env` with this content adds to these variables. */
function load(t: Test, content: string | Buffer, env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const root = t.testdir({})
  writeFileSync(path.join(root, '.env'), content)
  loadEnvFile(root, env)
  return env
}

t.test('.env is read as Node reads it: nothing in it is expanded', async (t) => {
  for (const [content, variables] of [
    ['A=pa$USER-x\nB=$A-\nC=pa\\$x', { A: 'pa$USER-x', B: '$A-', C: 'pa\\$x' }],
    ['\n# A=1\n  export A = b  \nB=c=d # e\nC= # none\nD=\n', { A: 'b', B: 'c=d', C: '', D: '' }],
    ['A="a\\nb" # c\nB=\'a\\nb\'\nC=`"\'`\nD="it\'s #1"', { A: 'a\nb', B: 'a\\nb', C: '"\'', D: "it's #1" }],
    ['KEY="-----BEGIN\nMII=\n-----END"\nB=1', { KEY: '-----BEGIN\nMII=\n-----END', B: '1' }],
    ['A={"a":"b"}\nB=it\'s', { A: '{"a":"b"}', B: "it's" }],
    ['A={"a": "b"} # "c"\nB=it\'s # c\nC=5" `x` # it\'s', { A: '{"a": "b"}', B: "it's", C: '5" `x`' }],
    ['\uFEFFA=1\r\nB=2\r\n', { A: '1', B: '2' }],
    // Node takes the next line for the value.
    ['A= \nB=2', { A: '', B: '2' }],
    ['', {}],
  ] as [string, Record<string, string>][]) {
    t.same(load(t, content), variables, JSON.stringify(content))
  }
})

t.test('a variable that is set stays, also an empty one', async (t) => {
  t.same(load(t, 'A=1\nB=2\nC=3', { A: 'set', B: '' }), { A: 'set', B: '', C: '3' })
})

t.test('a line that is not read as it is meant is an error, by number and variable, without its value', async (t) => {
  for (const [content, ...said] of [
    ['A=1\nTOKEN: hunter2', '.env:2: TOKEN'],
    ['A="x\ny"\nTOKEN="hunter2"x', '.env:3: TOKEN'],
    ['TOKEN="hunter\\"2"', '.env:1: TOKEN'],
    ['TOKEN="hunter2\nB=1', '.env:1: TOKEN'],
    ["\n\nTOKEN='hunter2", '.env:3: TOKEN'],
    ['TOKEN=hunter2#x', '.env:1: TOKEN'],
    ['TOKEN={"a": "hunter2 # x"}', '.env:1: TOKEN'],
    ["TOKEN=don't # it's hunter2", '.env:1: TOKEN'],
    ['MY-TOKEN=hunter2\nexport\tB=1', '.env:1: MY-TOKEN', '.env:2: B'],
    ['TOKEN hunter2', '.env:1: the line'],
    ['KEY=-----BEGIN\nhunter2+/\nhunter2-_=\nZ=1', '.env:2: the line', '.env:3: the line'],
  ] as [string, ...string[]][]) {
    const problems = said.map((place) => `${place} is not read as it is meant`).join('; ')
    const message = `${problems}: write NAME=value, and quotes of one kind around a value with # or other quotes`
    t.throws(() => load(t, content), { message }, JSON.stringify(content))
  }
})

t.test(
  'a file that is no text is said to be none; a folder, and a file that is missing, name no variables',
  async (t) => {
    t.throws(() => load(t, Buffer.from('\uFEFFA=1', 'utf16le')), { message: '.env is not in UTF-8' })
    t.throws(() => load(t, Buffer.from('A=pä', 'latin1')), { message: '.env is not in UTF-8' })
    const root = t.testdir({ '.env': {} })
    mkdirSync(path.join(root, '.local/dev.env'), { recursive: true })
    const env = {}
    loadDevelopment(root, env)
    loadDevelopment(t.testdir({}), env)
    t.same(env, {})
    const linked = t.testdir({ '.env': t.fixture('symlink', '.env') })
    t.throws(() => loadEnvFile(linked, env), { code: 'ELOOP' })
  },
)

t.test('the development servers count where neither the shell nor .env names a database', async (t) => {
  const servers = { DATABASE_URL: 'stale', DATABASE_MIGRATION_URL: 'stale', REDIS_URL: 'stale' }
  const text = Object.entries(servers).map(([name, value]) => `${name}=${value}\n`)
  const load = (content: string, env: NodeJS.ProcessEnv = {}) => {
    loadDevelopment(t.testdir({ '.env': content, '.local': { 'dev.env': text.join('') } }), env)
    return env
  }
  t.same(load('DATABASE_URL=\nREDIS_URL=mine'), { ...servers, REDIS_URL: 'mine' })
  for (const name of ['DATABASE_URL', 'DATABASE_URL_FILE', 'POSTGRES_HOST', 'DATABASE_MIGRATION_URL']) {
    t.same(load(`${name}=mine`), { [name]: 'mine' })
    t.same(load('', { [name]: 'mine' }), { [name]: 'mine' })
    t.ok(namesDatabase({ [name]: 'mine' }))
  }
  t.notOk(namesDatabase({ DATABASE_URL: '', POSTGRES_USER: 'mine', DATABASE_SCHEMA: 'mine' }))
})
