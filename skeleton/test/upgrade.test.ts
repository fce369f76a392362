import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { mergeManifests } from '../../dev/upgrade/manifest.ts'
import { newNames } from '../../dev/upgrade/migrations.ts'
import { commit, git, type Result, ROOT, run } from '../copy.ts'
import { folder } from './support.ts'

/** A skeleton in small, with the mechanism as it is here. */
const FILES: Record<string, string> = {
  '.gitignore': 'node_modules\n.env\n',
  'README.md': '# The skeleton\n',
  'CHANGELOG.md': '# Changelog\n\n## [1.0.0] - 2026-01-01\n\n- the first\n',
  'package.json': `${JSON.stringify(
    {
      name: 'base',
      version: '1.0.0',
      description: 'What a skeleton is',
      type: 'module',
      private: true,
      scripts: { docs: 'node dev/docs.ts', init: 'node skeleton/init.ts' },
      dependencies: {},
      skeletonSays: { timeout: 1, retries: 2 },
    },
    null,
    2,
  )}\n`,
  'dev/docs.ts': `import { readFileSync, writeFileSync } from 'node:fs'
const settings = readFileSync('src/settings.ts', 'utf8').match(/[A-Z]+/g)
writeFileSync('.env.example', settings.join('\\n'))
const page = readFileSync('docs/configuration.md', 'utf8')
writeFileSync('docs/configuration.md', page.replace(/(<!-- environment -->\\n)[^]*(<!-- .environment -->)/, '$1' + settings.join() + '\\n$2'))
`,
  'docs/configuration.md': '# Settings\n\n<!-- environment -->\nONE\n<!-- /environment -->\n',
  'src/settings.ts': "export const settings = ['ONE']\n",
  'src/app.ts': ['// base', 'one()', 'two()', 'three()', 'four()', 'five()', 'six()', 'seven()', ''].join('\n'),
  'src/spare.ts': 'export const spare = 1\n',
  'src/cache.ts': 'export const cache = 1\n',
  'migrations/20260101000000_base.ts': 'export const base = 1\n',
  'skeleton/README.service.md': '# {{name}}\n\n{{description}}\n\n{{docs}}\n',
  'skeleton/features.ts': `export const features = {
  cache: { description: 'a cache', remove: ['src/cache.ts'] },
  faults: { description: 'faults', remove: [] },
}
export const together = []
export const skeleton = { remove: ['skeleton', 'CHANGELOG.md'], scripts: ['init'] }
`,
}

/** Made up in the second version: beside what services edit, and where nobody does. */
const SECOND: Record<string, (before: string) => string> = {
  'CHANGELOG.md': (text) => text.replace('## ', '## [1.1.0] - 2026-06-01\n\n- five is better\n\n## '),
  'package.json': (text) => text.replace('"1.0.0"', '"1.1.0"').replace('"retries": 2', '"retries": 3'),
  'src/app.ts': (text) => text.replace('five()', 'five(base)'),
  'src/settings.ts': () => "export const settings = ['ONE', 'TWO']\n",
  'src/spare.ts': () => 'export const spare = 2\n',
  'src/cache.ts': () => 'export const cache = 2\n',
  'src/new.ts': () => "import '../migrations/20260501000000_add.ts'\n",
  'migrations/20260501000000_add.ts': () => 'export const add = 1\n',
  'skeleton/features.ts': (text) =>
    text.replace('faults:', "queue: { description: 'a queue', remove: ['src/queue.ts'] },\n  faults:"),
  'src/queue.ts': () => 'export const queue = 1\n',
}

function put(root: string, file: string, text: string): void {
  mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
  writeFileSync(path.join(root, file), text)
}

const text = (root: string, file: string) => readFileSync(path.join(root, file), 'utf8')

function edit(root: string, file: string, change: (before: string) => string): void {
  put(root, file, change(existsSync(path.join(root, file)) ? text(root, file) : ''))
}

/** The repository of the skeleton, with the tags v1.0.0 and v1.1.0. */
function skeleton(t: Test): string {
  const root = path.join(folder(t), 'skeleton')
  for (const [file, content] of Object.entries(FILES)) put(root, file, content)
  for (const file of ['skeleton/render.ts', 'skeleton/table.ts', 'skeleton/init.ts', 'skeleton/ask.ts', 'dev/upgrade'])
    cpSync(path.join(ROOT, file), path.join(root, file), { recursive: true })
  commit(root, 'The first version', { init: true })
  git(root, 'tag', 'v1.0.0')
  for (const [file, change] of Object.entries(SECOND)) edit(root, file, change)
  commit(root, 'The second version')
  git(root, 'tag', 'v1.1.0')
  return root
}

/** A service of the first version, in a repository of its own, or in a folder of one. */
async function service(t: Test, source: string, { within = '' } = {}): Promise<string> {
  const top = path.join(folder(t), 'orders')
  git(source, 'clone', '--quiet', '--config', 'advice.detachedHead=false', '--branch', 'v1.0.0', source, top)
  mkdirSync(path.join(top, 'node_modules'))
  const made = await run(top, 'node', 'skeleton/init.ts', '--name', 'orders', '--features', 'none')
  t.equal(made.code, 0, made.stderr)
  rmSync(path.join(top, '.git'), { recursive: true })
  const root = path.join(top, within)
  if (within) {
    cpSync(top, `${top}-moved`, { recursive: true })
    rmSync(top, { recursive: true })
    mkdirSync(path.dirname(root), { recursive: true })
    cpSync(`${top}-moved`, root, { recursive: true })
  }
  commit(top, 'Start orders', { init: true })
  return root
}

const upgrade = (root: string, ...args: string[]) => run(root, 'node', 'dev/upgrade/main.ts', ...args)

/** What must stay as it was, whatever an upgrade does. */
const references = (root: string) => git(root, 'for-each-ref') + git(root, 'rev-parse', 'HEAD') + git(root, 'reflog')

t.test('a service with edits of its own in the same files takes over a new version', async (t) => {
  const source = skeleton(t)
  const root = await service(t, source)
  edit(root, 'src/app.ts', (before) => before.replace('one()', 'one(mine)'))
  edit(root, 'package.json', (before) => before.replace('"timeout": 1', '"timeout": 9'))
  put(root, 'migrations/20260801000000_orders.ts', 'export const orders = 1\n')
  commit(root, 'Our own')
  const before = references(root)

  const { code, stdout, stderr } = await upgrade(root, '1.1.0')
  t.equal(code, 0, stderr)
  t.equal(
    text(root, 'src/app.ts'),
    ['// orders', 'one(mine)', 'two()', 'three()', 'four()', 'five(orders)', 'six()', 'seven()', ''].join('\n'),
  )
  t.match(JSON.parse(text(root, 'package.json')), {
    name: 'orders',
    version: '0.1.0',
    // On lines beside each other: git alone would see a conflict.
    skeletonSays: { timeout: 9, retries: 3 },
    skeleton: { source, version: '1.1.0', commit: git(source, 'rev-parse', 'v1.1.0').trim(), features: [] },
  })
  t.equal(text(root, '.env.example'), 'ONE\nTWO')
  t.match(text(root, 'docs/configuration.md'), 'ONE,TWO\n')
  t.equal(JSON.parse(text(root, 'package-lock.json')).name, 'orders')
  t.notOk(existsSync(path.join(root, 'src/cache.ts')), 'a feature that is left out stays left out')
  t.notOk(existsSync(path.join(root, 'src/queue.ts')), 'a new feature is not there unasked')
  t.match(stdout, /New features[^\n]*\n {2}queue\n/)
  t.match(stdout, /^## \[1\.1\.0\].*five is better/s)
  t.notMatch(stdout, /the first/)
  t.equal(git(root, 'diff', '--name-only').trim(), '', 'all of it is staged')
  t.equal(references(root), before)
  t.notOk(existsSync(path.join(root, '.git/CHERRY_PICK_HEAD')))
  t.match(text(root, '.git/MERGE_MSG'), /^Upgrade the skeleton from 1\.0\.0 to 1\.1\.0/)

  t.test('whose migration comes after its own', async (t) => {
    const names = readdirSync(path.join(root, 'migrations')).sort()
    t.equal(names.length, 3)
    t.match(names[2], /^\d{14}_add\.ts$/)
    t.ok((names[2] as string) > '20260801000000_orders.ts')
    t.equal(text(root, 'src/new.ts'), `import '../migrations/${names[2]}'\n`)
    t.match(stdout, `20260501000000_add.ts is ${names[2]}`)
  })

  t.test('and can go on, or undo it', async (t) => {
    git(root, 'commit', '--quiet', '--no-edit')
    t.match((await upgrade(root, '1.1.0')).stdout, 'already')
    git(root, 'reset', '--hard', '--quiet', 'HEAD~')
    t.notOk(existsSync(path.join(root, 'src/new.ts')))
  })
})

t.test('conflicts are marked and listed, and nothing else is kept back', async (t) => {
  const root = await service(t, skeleton(t))
  edit(root, 'src/app.ts', (before) => before.replace('five()', 'five(mine)'))
  rmSync(path.join(root, 'src/spare.ts'))
  commit(root, 'Our own')
  const before = references(root)

  const { code, stdout } = await upgrade(root, '1.1.0')
  t.equal(code, 2)
  t.match(text(root, 'src/app.ts'), /<<<<<<< HEAD\nfive\(mine\)\n=======\nfive\(orders\)\n>>>>>>> /)
  t.match(stdout, 'src/app.ts: both have changed it')
  t.match(stdout, /stay deleted \(git show \w+\):\n {2}src\/spare\.ts\n/)
  t.notOk(existsSync(path.join(root, 'src/spare.ts')))
  t.match(text(root, 'src/settings.ts'), 'TWO')
  t.equal(JSON.parse(text(root, 'package.json')).skeleton.version, '1.1.0')
  t.equal(git(root, 'diff', '--name-only', '--diff-filter=U').trim(), 'src/app.ts')
  t.equal(references(root), before)
  const [shown] = /(?<=git show )\w+/.exec(stdout) as RegExpExecArray
  t.match(git(root, 'show', shown), 'spare = 2')
  git(root, 'reset', '--hard', '--quiet')
  t.equal(git(root, 'status', '--porcelain'), '')
})

t.test('the same entry of package.json, changed by both, is a conflict', async (t) => {
  const root = await service(t, skeleton(t))
  edit(root, 'package.json', (before) => before.replace('"retries": 2', '"retries": 7'))
  commit(root, 'Our own')
  const { code, stdout } = await upgrade(root, '1.1.0')
  t.equal(code, 2)
  t.match(text(root, 'package.json'), /<<<<<<< HEAD\n.*"retries": 7\n=======\n.*"retries": 3\n/)
  t.match(stdout, 'package.json: both have changed it')
})

t.test('a service in a folder of a repository', async (t) => {
  const root = await service(t, skeleton(t), { within: 'services/orders' })
  const { code, stderr } = await upgrade(root, 'main')
  t.equal(code, 0, stderr)
  t.match(text(root, 'src/app.ts'), 'five(orders)')
  t.equal(JSON.parse(text(root, 'package.json')).skeleton.version, '1.1.0')
  t.match(git(root, 'diff', '--cached', '--name-only'), 'services/orders/src/app.ts')
  t.equal(git(root, 'diff', '--name-only').trim(), '')
})

t.test('whatever git is configured to do', async (t) => {
  const root = await service(t, skeleton(t))
  const hooks = folder(t)
  for (const hook of ['pre-commit', 'post-checkout', 'commit-msg']) put(hooks, hook, '#!/bin/sh\nexit 1\n')
  for (const hook of readdirSync(hooks)) await run(hooks, 'chmod', '+x', hook)
  const settings = {
    'core.autocrlf': 'true',
    'commit.gpgSign': 'true',
    'core.hooksPath': hooks,
    'merge.renames': 'false',
  }
  for (const [name, value] of Object.entries(settings)) git(root, 'config', name, value)
  git(root, 'rm', '--cached', '-r', '-q', '.')
  git(root, 'reset', '--hard', '--quiet')
  t.match(text(root, 'src/app.ts'), 'five()\r\n')
  const { code, stderr } = await upgrade(root, '1.1.0')
  t.equal(code, 0, stderr)
  t.match(text(root, 'src/app.ts'), 'five(orders)\r\n')
})

t.test('what cannot be upgraded is refused, and stays as it is', async (t) => {
  const source = skeleton(t)
  const root = await service(t, source)
  const refused = async (t: Test, args: string[], message: RegExp | string) => {
    const before = references(root) + git(root, 'status', '--porcelain')
    const { code, stdout, stderr }: Result = await upgrade(root, ...args)
    t.match({ code, stdout, stderr }, { code: 1, stdout: '', stderr: message })
    t.equal(references(root) + git(root, 'status', '--porcelain'), before)
  }
  const record = (change: object) =>
    edit(root, 'package.json', (before) => {
      const manifest = JSON.parse(before)
      return JSON.stringify({ ...manifest, skeleton: { ...manifest.skeleton, ...change } })
    })

  t.test('without a version', (t) => refused(t, [], /^usage: npm run upgrade/))
  t.test('to a version that there is not', (t) =>
    refused(t, ['9.9.9'], 'has no version 9.9.9: its tags are v1.1.0, v1.0.0'),
  )
  t.test('with changes that are not committed', async (t) => {
    put(root, 'src/own.ts', '')
    await refused(t, ['1.1.0'], /Commit these first.*\?\? src\/own\.ts/s)
    rmSync(path.join(root, 'src/own.ts'))
  })
  t.test('over a file that git ignores', async (t) => {
    put(root, '.git/info/exclude', 'new.ts\n')
    put(root, 'src/new.ts', 'mine')
    await refused(t, ['1.1.0'], /untracked: put them aside\.\n {2}src\/new\.ts\n/)
    t.equal(text(root, 'src/new.ts'), 'mine')
    rmSync(path.join(root, 'src/new.ts'))
  })
  t.test('without a record of what it was made of', async (t) => {
    edit(root, 'package.json', (before) => before.replace('"skeleton":', '"other":'))
    commit(root, 'No record')
    await refused(t, ['1.1.0'], 'package.json has no "skeleton"')
    git(root, 'reset', '--hard', '--quiet', 'HEAD~')
  })
  for (const [title, change, message] of [
    ['without a source', { source: null }, 'does not say where the skeleton is'],
    ['from a source that is not there', { source: '/nowhere' }, /cannot be cloned from \/nowhere:\n.*does not exist/s],
    ['of a version that the source has lost', { commit: null, version: '0.0.1' }, 'neither the commit nor the version'],
  ] as const)
    t.test(title, async (t) => {
      record(change)
      commit(root, 'Another record')
      await refused(t, ['1.1.0'], message)
      git(root, 'reset', '--hard', '--quiet', 'HEAD~')
    })
  t.test('outside of a repository', async (t) => {
    const alone = path.join(folder(t), 'alone')
    cpSync(root, alone, { recursive: true })
    rmSync(path.join(alone, '.git'), { recursive: true })
    t.match(await upgrade(alone, '1.1.0'), { code: 1, stderr: 'no git repository' })
  })
})

t.test('without the commit in its record, it goes by the version', async (t) => {
  const root = await service(t, skeleton(t))
  edit(root, 'package.json', (before) => before.replace(/"commit": "\w+"/, '"commit": null'))
  commit(root, 'As by hand')
  const { code, stderr } = await upgrade(root, 'v1.1.0')
  t.equal(code, 0, stderr)
  t.match(text(root, 'src/app.ts'), 'five(orders)')
})

t.test('new migrations come after all that the service has', async (t) => {
  const now = new Date('2026-06-01T12:00:00Z')
  const added = ['20260301000000_b.ts', '20260201000000_a.ts']
  t.same(
    [...newNames(added, ['20260401000000_own.ts'], now)],
    [
      ['20260201000000_a.ts', '20260601120000_a.ts'],
      ['20260301000000_b.ts', '20260601120001_b.ts'],
    ],
  )
  t.same(
    [...newNames(['20260201000000_a.ts'], ['20270101235959_ahead_of_the_clock.ts'], now)],
    [['20260201000000_a.ts', '20270102000000_a.ts']],
  )
  t.same([...newNames(added, ['20260101000000_own.ts'], now)], [], 'which they do already')
  t.same(
    [...newNames(added, ['named_otherwise.ts'], now)].map(([, name]) => name),
    ['20260601120000_a.ts', '20260601120001_b.ts'],
  )
})

t.test('package.json is merged by entry', async (t) => {
  const merged = (base: object, ours: object, theirs: object) => {
    const text = mergeManifests(JSON.stringify(base), JSON.stringify(ours), JSON.stringify(theirs))
    return text && JSON.parse(text)
  }
  t.same(merged({ a: '1', b: '1' }, { a: '2', b: '1' }, { a: '1', b: '2' }), { a: '2', b: '2' })
  t.same(merged({ d: { b: '1' } }, { d: { b: '1', c: '1' } }, { d: { a: '1', b: '1' } }), {
    d: { a: '1', b: '1', c: '1' },
  })
  t.same(Object.keys(merged({}, { a: 1, c: 1 }, { b: 1 })), ['a', 'b', 'c'], 'in order where it was in order')
  t.same(
    merged({ d: { a: '1', b: '1' } }, { d: { a: '1' } }, { d: { b: '1' } }),
    { d: {} },
    'what one has removed goes',
  )
  t.same(merged({ l: [1] }, { l: [1, 2] }, { l: [1] }), { l: [1, 2] })
  t.equal(merged({ a: '1' }, { a: '2' }, { a: '3' }), undefined)
  t.equal(merged({ a: '1' }, {}, { a: '2' }), undefined)
  t.equal(mergeManifests('{}', 'no JSON', '{}'), undefined)
})
