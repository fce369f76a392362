import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { open } from '../migrations/open.ts'
import { copyProject, database, MIGRATIONS, query, shell } from '../support/helper.ts'
import { commit, git, npm, put, repository, tried } from './repository.ts'

const table = (name: string) => `import { sql } from 'kysely'
export const up = (db) => sql\`create table ${name} ()\`.execute(db)
export const down = (db) => sql\`drop table ${name}\`.execute(db)
`
const OURS = '99990101000000_ours.ts'
const THEIRS = '99990102000000_theirs.ts'
const RENAMED = '99990102000001_ours.ts'

const check = (cwd: string, ref = 'main') => npm(cwd, 'check:migrations', [ref])

/** What the one line of the problem says, and that its command cures it. */
async function cured(t: Test, cwd: string, said: RegExp): Promise<void> {
  const { code, output } = await check(cwd)
  t.equal(code, 1)
  t.match(output, said)
  const [, command] = /: ((?:mv|git|npm) .*)\n$/.exec(output) as string[]
  await shell(
    'sh',
    ['-c', `${command} ${command?.startsWith('npm') ? '-- --no-database' : ''}`],
    { GITHUB_BASE_REF: 'main' },
    cwd,
  )
  t.match(await check(cwd), { code: 0, output: 'The migrations follow those of main' })
}

t.test('the check names what another order of merges would break, and the command that cures it', async (t) => {
  const cwd = await repository(t, { [THEIRS]: table('theirs') })
  git(cwd, 'update-ref', 'refs/remotes/origin/main', 'main')
  t.equal((await check(cwd)).code, 0, 'a branch that is behind')

  put(cwd, OURS, table('ours'))
  await cured(t, cwd, new RegExp(`^migrations/${OURS} is not newer than ${THEIRS} of main`))
  rmSync(path.join(cwd, 'migrations', RENAMED))

  for (const name of ['99990103000000_one.ts', '99990103000000_two.ts']) put(cwd, name, table('one'))
  await cured(t, cwd, /^migrations\/99990103000000_two.ts has the timestamp of 99990103000000_one.ts/)

  const [first] = MIGRATIONS.map((name) => `${name}.ts`) as [string]
  const file = path.join(cwd, 'migrations', first)
  const content = readFileSync(file, 'utf8')
  writeFileSync(file, `// A remark.\n\n${content}`)
  t.equal((await check(cwd)).code, 0, 'a comment may change')
  writeFileSync(file, content.replace('export async function down', 'export const other = 1\n$&'))
  await cured(t, cwd, new RegExp(`^migrations/${first} differs from that of main`))
  rmSync(file)
  await cured(t, cwd, new RegExp(`^migrations/${first} is gone, which main has`))
  renameSync(file, path.join(cwd, 'migrations/20200101000000_renamed.ts'))
  await cured(t, cwd, new RegExp(`^migrations/20200101000000_renamed.ts was ${first} in main`))

  put(cwd, '20200101000000_split.ts', `${table('split')}export const isApplied = async () => true\n`)
  t.equal((await check(cwd)).code, 0, 'one that takes the place of a part of an older one')
})

t.test('the check compares with what CI merges into, the default branch of origin or the last release', async (t) => {
  const cwd = await repository(t)
  const bare = (env: NodeJS.ProcessEnv = {}) => npm(cwd, 'check:migrations', [], env)
  t.match(await bare(), { code: 0, output: /^Nothing to compare the migrations with/ })
  git(cwd, 'tag', 'v1')
  t.match(await bare(), { code: 0, output: 'follow those of v1' })
  git(cwd, 'update-ref', 'refs/remotes/origin/main', 'main')
  git(cwd, 'symbolic-ref', 'refs/remotes/origin/HEAD', 'refs/remotes/origin/main')
  t.match(await bare(), { code: 0, output: 'follow those of origin/HEAD' })
  t.match(await bare({ GITHUB_BASE_REF: 'main' }), { code: 0, output: 'follow those of origin/main' })
  const said = 'This clone has no origin/next: git fetch origin next:refs/remotes/origin/next'
  t.match(await bare({ GITHUB_BASE_REF: 'next' }), { code: 1, output: said })
})

t.test('the check takes no branch or tag of the skeleton for one of the service that was made of it', async (t) => {
  const cwd = await repository(t)
  git(cwd, 'tag', 'v1')
  git(cwd, 'update-ref', 'refs/remotes/origin/HEAD', 'main')
  const file = path.join(cwd, 'package.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...json, skeleton: { commit: git(cwd, 'rev-parse', 'branch').trim() } }))
  rmSync(path.join(cwd, 'migrations', `${MIGRATIONS.at(-1)}.ts`))
  commit(cwd, 'made of the skeleton', '.')
  const bare = () => npm(cwd, 'check:migrations')
  t.match(await bare(), { code: 0, output: /^Nothing to compare the migrations with/ })
  git(cwd, 'update-ref', '-d', 'refs/remotes/origin/HEAD')
  t.match(await bare(), { code: 0, output: /^Nothing to compare the migrations with/ })
  git(cwd, 'update-ref', 'refs/remotes/origin/HEAD', 'branch')
  t.match(await bare(), { code: 0, output: 'follow those of origin/HEAD' })
})

t.test('the check works in a shallow clone, and says how far that reaches', async (t) => {
  const cwd = await repository(t, { [THEIRS]: table('theirs') })
  put(cwd, OURS, table('ours'))
  commit(cwd, 'ours')
  git(cwd, 'merge', '--quiet', '--no-edit', 'main')
  const clone = await copyProject(t)
  rmSync(path.join(clone, 'migrations'), { recursive: true })
  git(clone, 'init', '--quiet')
  git(clone, 'fetch', '--quiet', '--depth=1', pathToFileURL(cwd).href, 'branch', 'main:refs/remotes/origin/main')
  git(clone, 'checkout', '--quiet', git(cwd, 'rev-parse', 'branch').trim(), '--', 'migrations')
  git(clone, 'update-ref', 'HEAD', git(cwd, 'rev-parse', 'branch').trim())
  const { code, output } = await npm(clone, 'check:migrations', [], { GITHUB_BASE_REF: 'main' })
  t.equal(code, 1)
  t.match(output, /git fetch --unshallow/)
  t.match(output, new RegExp(`^migrations/${OURS} is not newer than ${THEIRS} of origin/main`, 'm'))
})

const NAMES = `select substr(name, 16) as name from kysely_migration order by timestamp, kysely_migration.name offset ${MIGRATIONS.length}`
const STATES: Record<string, { applied: string[][]; rows: boolean }> = {
  'ours alone': { applied: [[OURS]], rows: true },
  'ours, then theirs': { applied: [[OURS], [THEIRS]], rows: true },
  'theirs alone': { applied: [[THEIRS]], rows: false },
}

for (const [state, { applied, rows }] of Object.entries(STATES)) {
  t.test(`a late file is renamed, also in a database that has ${state}, and its rows stay`, async (t) => {
    const DATABASE_URL = await database(t)
    const cwd = await repository(t, { [THEIRS]: table('theirs') })
    const { migrator, names } = await open(t, DATABASE_URL, path.join(cwd, 'migrations'))
    const contents: Record<string, string> = { [OURS]: table('ours'), [THEIRS]: table('theirs') }
    for (const files of applied) {
      for (const file of files) put(cwd, file, contents[file] as string)
      await names(migrator.migrateToLatest())
    }
    if (rows) await query(DATABASE_URL, 'insert into ours default values')
    put(cwd, OURS, table('ours'))
    commit(cwd, 'ours')
    git(cwd, 'merge', '--quiet', '--no-edit', 'main')
    git(cwd, 'update-ref', 'refs/remotes/origin/HEAD', 'main')

    t.match(await npm(cwd, 'rename:migrations', [], { DATABASE_URL }), { code: 1, output: '-- --database' })
    t.match(await npm(cwd, 'rename:migrations'), { code: 1, output: 'npm run dev' })
    const renamed = await npm(cwd, 'rename:migrations', ['--database'], { DATABASE_URL })
    t.match(renamed, { code: 0, output: `is migrations/${RENAMED}` })
    t.same(await names(migrator.migrateToLatest()), rows ? [] : ['Up ours'])
    t.same(await query(DATABASE_URL, NAMES), [{ name: 'theirs' }, { name: 'ours' }])
    if (rows) t.same(await query(DATABASE_URL, 'select from ours'), [{}])
    t.same(await names(migrator.migrateDown()), ['Down ours'])
    t.same(await names(migrator.migrateUp()), ['Up ours'])
    t.match(await npm(cwd, 'rename:migrations'), { code: 0, output: 'No migration is to be renamed' })
  })
}

t.test('npm run dev has a database that the new name reaches unasked; a merged file stays', async (t) => {
  const DATABASE_URL = await database(t)
  const cwd = await repository(t)
  const { migrator, names } = await open(t, DATABASE_URL, path.join(cwd, 'migrations'))
  put(cwd, OURS, table('ours'))
  await names(migrator.migrateToLatest())
  mkdirSync(path.join(cwd, '.local'))
  writeFileSync(path.join(cwd, '.local/dev.env'), `DATABASE_URL=${DATABASE_URL}\n`)
  t.match(await npm(cwd, 'rename:migrations', [OURS]), {
    code: 0,
    output: `${OURS} is migrations/99990101000001_ours.ts`,
  })
  t.same(await names(migrator.migrateToLatest()), [])
  git(cwd, 'update-ref', 'refs/remotes/origin/HEAD', 'main')
  for (const [file, said] of [
    [`${MIGRATIONS[0]}.ts`, 'is in origin/HEAD, and frozen'],
    ['none.ts', 'There is no migrations/none.ts'],
  ] as const) {
    t.match(await npm(cwd, 'rename:migrations', [file]), { code: 1, output: said })
  }
})

t.test('a branch without the file of the last applied one says how it comes here, and then undoes it', async (t) => {
  const DATABASE_URL = await database(t)
  const cwd = await repository(t, { [THEIRS]: table('theirs') })
  const kysely = (command: string) => tried(shell('kysely', [command], { DATABASE_URL }, cwd))
  git(cwd, 'checkout', '--quiet', 'main')
  t.match(await kysely('migrate:latest'), { code: 0 })
  git(cwd, 'checkout', '--quiet', 'branch')
  put(cwd, '99990103000000_new.ts', table('new'))
  for (const command of ['migrate:latest', 'migrate:down']) {
    const { output } = await kysely(command)
    const [, cure = ''] = /(git checkout BRANCH -- \S+)/.exec(output) ?? []
    if (command === 'migrate:down') await shell('sh', ['-c', cure.replace('BRANCH', 'main')], {}, cwd)
    else t.match(output, 'no file here')
  }
  t.match(await kysely('migrate:down'), { code: 0, output: THEIRS.slice(0, -3) })
  git(cwd, 'rm', '--quiet', '--force', `migrations/${THEIRS}`)
  t.match(await kysely('migrate:latest'), { code: 0, output: '99990103000000_new' })
})
