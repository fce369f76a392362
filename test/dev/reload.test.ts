import { execFileSync } from 'node:child_process'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { copyProject, sharedDatabase, until } from '../support/helper.ts'
import { Dev } from './run-dev.ts'

const STARTED = 'INFO: ready'
const LEFT = 'INFO: leaving'
const VALUE = 'src/value.ts'
const value = (text: string) => `export const value = '${text}'\n`

/** A route that tells what a file of its own says. */
const ROUTE = `import { subscribe } from 'node:diagnostics_channel'
import { value } from './value.ts'
subscribe('fastify.initialization', ({ fastify }: any) => fastify.get('/value', async () => value))
`

t.test(
  'npm run dev starts the service again for each change, in good order, however the file is written',
  async (t) => {
    const cwd = await copyProject(t, { [VALUE]: value('0'), 'src/route.ts': ROUTE })
    const file = (name: string) => path.join(cwd, name)
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.com', ...args], { cwd })
    await writeFile(file('src/server.ts'), `import './route.ts'\n${await readFile(file('src/server.ts'), 'utf8')}`)
    git('init', '-q', '-b', 'main')
    git('add', 'src')
    git('commit', '-qm', 'one')
    git('checkout', '-qb', 'other')
    await mkdir(file('src/folder'))
    await writeFile(file('src/folder/value.ts'), value('of another branch'))
    await writeFile(file(VALUE), `export * from './folder/value.ts'\n`)
    git('add', 'src')
    git('commit', '-qm', 'two')
    git('checkout', '-q', 'main')

    const dev = new Dev(t, cwd, { DATABASE_URL: await sharedDatabase() })
    await dev.said(STARTED)
    const changes = async (what: string, expected: string, change: () => unknown) => {
      await change()
      const answers = await until(
        () => dev.get('/value').then((response) => response.text(), String),
        (answer) => answer === expected,
      )
      t.equal(answers, expected, what)
    }
    const replace = async (text: string) => {
      await writeFile(file('src/.value.ts.swp'), value(text))
      await rename(file('src/.value.ts.swp'), file(VALUE))
    }
    await changes('written', '1', () => writeFile(file(VALUE), value('1')))
    await changes('replaced', '2', () => replace('2'))
    await changes('replaced again', '3', () => replace('3'))
    await changes('a branch with another folder', 'of another branch', () => git('checkout', '-qf', 'other'))
    await changes('in the folder that came', '4', () => writeFile(file('src/folder/value.ts'), value('4')))
    await changes('the branch of before', '0', () => git('checkout', '-qf', 'main'))
    await changes('a burst', '9', async () => {
      for (let text = 5; text < 10; text += 1) await replace(String(text))
    })
    // Neither is a change of the sources: the next one is the next start.
    await writeFile(file('src/.value.ts.swo'), 'of an editor')
    await writeFile(file('migrations/99990101000000_new.ts'), 'export const up = async () => {}\n')
    await changes('and then', '10', () => writeFile(file(VALUE), value('10')))
    // Its answer can come before what the service has said until then.
    await dev.said('a migration is empty: not applied')
    t.equal(dev.output.split('a migration is empty: not applied').length, 2)

    await writeFile(file(VALUE), 'this is no TypeScript')
    await dev.said('the service ended (1): waiting for a change')
    const count = (text: string) => dev.output.split(text).length
    t.equal(count(LEFT), count(STARTED), 'each has left in good order before the next one')
    await changes('repaired', '11', () => writeFile(file(VALUE), value('11')))
    t.equal(await dev.stop(), 0)
    t.equal(dev.output.split('the service ended').length, 2, 'and that it was stopped is no news')
  },
)
