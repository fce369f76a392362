import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { database, ROOT, Service } from './helper.ts'

const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8')
const section = readme.split('\n## ').find((part) => part.startsWith('Call it from another service')) as string
const [command = ''] = /openapi-typescript .*/.exec(section) ?? []
const [, code = ''] = /```ts\n(.*?)```/s.exec(section) ?? []

t.test('README: "Call it from another service" works as it stands, and a wrong call is a type error', async (t) => {
  const service = new Service(t, { API_DOCS: 'true', DATABASE_URL: await database(t) })
  const url = await service.url()
  await service.logged('ready')
  const here = (text: string) => text.replaceAll('http://localhost:3000', url)

  // Of the readme's code, each with one mistake.
  const mistakes = {
    'path.ts': code.replace("'/health'", "'/healthy'"),
    'method.ts': code.replace('.GET', '.POST'),
    'data.ts': code.replace('data.version', 'data.release'),
    'error.ts': code.replace('error.services', 'error.service.name'),
  }
  const directory = t.testdir({ 'caller.ts': here(code), ...mistakes })
  const run = async (program: string, ...args: string[]) => {
    const PATH = `${path.join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`
    // Without tap's hooks, which it hands down in NODE_OPTIONS and tsc cannot be loaded with.
    const options = { cwd: directory, env: { ...process.env, PATH } }
    return (await promisify(execFile)('env', ['-u', 'NODE_OPTIONS', program, ...args], options)).stdout
  }
  const typecheck = (...files: string[]) =>
    run('tsc', '--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--types', 'node', ...files)

  const [generator = '', ...args] = here(command).split(' ')
  await run(generator, ...args)
  await typecheck('caller.ts')
  const errors = await typecheck(...Object.keys(mistakes)).catch(({ stdout }: { stdout: string }) => stdout)
  t.same(
    new Set(Array.from(errors.matchAll(/^\S+\.ts(?=\(.*error TS)/gm), ([file]) => file)),
    new Set(Object.keys(mistakes)),
  )
  t.match(await run('node', 'caller.ts'), /^\d+\.\d+\.\d+ is healthy\n$/)
})
