import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ROOT, run, sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'

const section = readFileSync(path.join(ROOT, 'docs/openapi.md'), 'utf8')
const [command = ''] = /openapi-typescript .*/.exec(section) ?? []
const [, code = ''] = /```ts\n(.*?)```/s.exec(section) ?? []

t.test('docs: "Call it from another service" works as it stands, and a wrong call is a type error', async (t) => {
  const service = new Service(t, { API_DOCS: 'true', DATABASE_URL: await sharedDatabase() })
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
  const inDirectory = { cwd: directory }
  const [generator = '', ...args] = here(command).split(' ')
  await run(generator, args, inDirectory)
  const flags = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--types', 'node']
  const checked = run('tsc', [...flags, 'caller.ts', ...Object.keys(mistakes)], inDirectory)
  const { stdout: errors } = await checked.catch((failure: { stdout: string }) => failure)
  t.same(
    new Set(Array.from(errors.matchAll(/^\S+\.ts(?=\(.*error TS)/gm), ([file]) => file)),
    new Set(Object.keys(mistakes)),
  )
  t.match((await run('node', ['caller.ts'], inDirectory)).stdout, /^\d+\.\d+\.\d+ is healthy\n$/)
})
