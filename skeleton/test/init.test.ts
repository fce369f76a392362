import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { ask } from '../ask.ts'
import { commit, git, run } from '../copy.ts'
import { optional } from '../render.ts'
import { clone } from './support.ts'

const init = (root: string, ...args: string[]) => run(root, 'node', 'skeleton/init.ts', ...args)
const state = (root: string) => git(root, 'status', '--porcelain', '--ignored') + git(root, 'rev-parse', 'HEAD')
const FLAGS = ['--name', 'orders', '--features', 'none']

t.test('init refuses, and changes nothing', async (t) => {
  const root = clone(t)
  const refused = async (t: Test, args: string[], message: RegExp | string) => {
    const before = state(root)
    t.match(await init(root, ...args), { code: 1, stdout: '', stderr: message })
    t.equal(state(root), before)
  }

  t.test('without flags and without a terminal', (t) => refused(t, [], /^Without a terminal.*usage: npm run init -- /s))
  t.test('half of the flags', (t) => refused(t, ['--name', 'orders'], /^Without a terminal/))
  t.test('a flag that there is not', (t) => refused(t, ['--nmae', 'x'], /Unknown option '--nmae'.*usage: /s))
  t.test('a feature that there is not', (t) =>
    refused(
      t,
      ['--name', 'orders', '--features', 'cache,caches'],
      `no such feature: caches. There are ${optional.join(', ')}`,
    ),
  )
  for (const name of [
    'Orders',
    '1st',
    'orders-',
    'or ders',
    'or_ders',
    'x'.repeat(41),
    '',
    'true',
    'postgres',
    'fastify',
  ])
    t.test(`the name "${name}"`, (t) => refused(t, ['--features', 'none', `--name=${name}`], `"${name}" is`))
  for (const description of ['two\nlines', 'a "quote"', ' ', '$HOME', 'x'.repeat(201)])
    t.test(`the description ${JSON.stringify(description.slice(0, 9))}`, (t) =>
      refused(t, [...FLAGS, '--description', description], 'a description is one line'),
    )
  t.test('a change that is not committed', async (t) => {
    writeFileSync(path.join(root, 'src/own.ts'), '')
    await refused(t, FLAGS, /Commit these first.*\?\? src\/own\.ts/s)
    rmSync(path.join(root, 'src/own.ts'))
  })
  t.test('without packages', async (t) => {
    rmSync(path.join(root, 'node_modules'))
    await refused(t, FLAGS, 'Run npm ci first.')
    mkdirSync(path.join(root, 'node_modules'))
  })
  t.test('outside of a repository', async (t) => {
    rmSync(path.join(root, '.git'), { recursive: true })
    t.match(await init(root, ...FLAGS), { code: 1, stdout: '', stderr: 'no git repository' })
    t.ok(existsSync(path.join(root, 'skeleton')))
  })
})

t.test('init makes a service', async (t) => {
  const root = clone(t)
  // Ignored by git: none of its business.
  writeFileSync(path.join(root, '.env'), '# footing\n')
  git(root, 'remote', 'add', 'origin', 'https://user:secret@example.com/footing.git')
  const head = git(root, 'rev-parse', 'HEAD').trim()
  const { code, stdout, stderr } = await init(
    root,
    '--name',
    'my-orders',
    '--description',
    'Takes orders',
    '--features=none',
  )
  t.equal(code, 0, stderr)
  t.match(stdout, 'my-orders is a service now')
  t.match(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')), {
    name: 'my-orders',
    version: '0.1.0',
    description: 'Takes orders',
    skeleton: { source: 'https://example.com/footing.git', commit: head, features: [], faults: true },
  })
  t.equal(readFileSync(path.join(root, '.env'), 'utf8'), '# footing\n')
  t.match(readFileSync(path.join(root, 'README.md'), 'utf8'), /^# my-orders\n\nTakes orders\n/)

  t.test('that is named so everywhere', async (t) => {
    const { stdout } = await run(root, 'git', 'grep', '--ignore-case', '--line-number', 'footing', ':!LICENSE')
    t.match(stdout.split('\n'), [/^package\.json:\d+: {4}"source": /, ''])
  })
  for (const command of ['typecheck', 'lint'] as const)
    t.test(`whose ${command} passes`, async (t) => {
      const { code, stdout, stderr } = await run(root, 'npm', 'run', '--silent', command)
      t.equal(code, 0, stdout + stderr)
    })
  t.test('whose packages can be installed, without a network', async (t) => {
    const { code, stderr } = await run(root, 'npm', 'ci', '--dry-run', '--offline', '--ignore-scripts')
    t.equal(code, 0, stderr)
  })
  t.test('in which nothing is committed or staged, so that it can be undone', async (t) => {
    t.equal(git(root, 'rev-parse', 'HEAD').trim(), head)
    t.equal(git(root, 'diff', '--cached', '--name-only'), '')
    t.equal(git(root, 'ls-files', '--others', '--exclude-standard'), '')
  })
  t.test('which init refuses from then on', async (t) => {
    // As if it had been kept.
    git(root, 'checkout', '--quiet', 'HEAD', '--', 'skeleton')
    commit(root, 'A service')
    t.match(await init(root, ...FLAGS), { code: 1, stderr: 'This is a service already' })
    t.equal(git(root, 'status', '--porcelain'), '')
  })
})

t.test('a source that is not known is said to be', async (t) => {
  const root = clone(t)
  const { code, stdout } = await init(root, '--name', 'a', '--features', 'all', '--no-faults')
  t.equal(code, 0)
  t.match(stdout, /source {4}not known/)
  t.match(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).skeleton, {
    source: null,
    features: optional,
    faults: false,
  })
})

/** A terminal, and someone who answers each question when it is asked. */
function terminal(answers: [question: string, keys: string][]) {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} })
  const output = Object.assign(new PassThrough(), { columns: 120, rows: 40 })
  let seen = ''
  output.on('data', (data: Buffer) => {
    seen += data
    const [question, keys] = answers[0] ?? []
    if (question === undefined || !seen.includes(question)) return
    answers.shift()
    setImmediate(() => input.write(keys))
  })
  return { input, output }
}

t.test('with a terminal it asks for what is not given', async (t) => {
  const options = { problemOf: () => undefined, description: 'A service' }
  t.test('and takes what is answered', async (t) => {
    // The description that is offered, and all features but the first.
    const io = terminal([
      ['Its name?', 'ox\r'],
      ['What does it do', '\r'],
      ['Which optional features', ' \r'],
      ['Keep the fault suite', 'n'],
    ])
    t.same(await ask({}, { ...options, ...io }), {
      name: 'ox',
      description: 'A service',
      features: optional.slice(1),
      faults: false,
    })
  })
  t.test('and nothing else', async (t) => {
    const io = terminal([['Keep the fault suite', 'y']])
    const given = { name: 'orders', description: 'Takes orders', features: ['cache'] }
    t.same(await ask(given, { ...options, ...io }), { ...given, faults: true })
  })
  t.test('and can be broken off', async (t) => {
    t.equal(await ask({}, { ...options, ...terminal([['Its name?', '\u0003']]) }), undefined)
  })
})
