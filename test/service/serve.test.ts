import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { ROOT, run } from '../support/helper.ts'

t.test('the source runs where a module is loaded first, and says so; else the build', async (t) => {
  const cwd = t.testdir({
    'serve.js': await readFile(path.join(ROOT, 'serve.js'), 'utf8'),
    'package.json': '{ "type": "module" }',
    src: { 'server.ts': "const what: string = 'source'\nconsole.log(what)" },
    dist: { src: { 'server.js': "console.log('build')" } },
    'agent.cjs': '',
    'an agent.cjs': '',
    'hooks.mjs': '',
  })
  const serve = (nodeOptions: string, flags: string[] = []) =>
    run(process.execPath, [...flags, 'serve.js'], { cwd, nodeOptions })

  for (const nodeOptions of [
    '--require ./agent.cjs',
    '--require=./agent.cjs',
    '-r ./agent.cjs',
    '--require "./an agent.cjs"',
    '"--require=./an agent.cjs"',
    '"--require" "./an agent.cjs"',
    '--import ./agent.cjs',
    '--import=./agent.cjs',
    '--experimental-loader ./hooks.mjs',
    '--loader=./hooks.mjs',
    // As OpenTelemetry's operator appends it.
    '--max-old-space-size-percentage=50 --require ./agent.cjs',
    '--import=data:text/javascript, --import=./agent.cjs',
  ]) {
    const { stdout, stderr } = await serve(nodeOptions)
    t.equal(stdout, 'source\n', nodeOptions)
    t.match(stderr, /^a module is loaded first \(--?[a-z-]+\): running the source, whose modules it can hook$/m)
  }
  for (const flags of [['--require', './agent.cjs'], ['--import=./agent.cjs'], ['-r', './an agent.cjs']])
    t.match(await serve('', flags), { stdout: 'source\n', stderr: 'loaded first' }, flags.join(' '))

  for (const nodeOptions of [
    '',
    '--max-old-space-size-percentage=50',
    '--no-experimental-require-module --title=--requires',
    '--import=data:text/javascript,',
    '--import "data:text/javascript,"',
  ]) {
    t.same(await serve(nodeOptions), { stdout: 'build\n', stderr: '' }, nodeOptions)
  }
})
