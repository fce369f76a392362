import { spawnSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import { ROOT } from '../support/helper.ts'
import { preload } from '../support/process.ts'

/** Runs a script of package.json, without npm, in this folder. */
function script(name: 'start' | 'dev' | 'test' | 'build', cwd = ROOT, NODE_OPTIONS = '') {
  const command = manifest.scripts[name].replace(/\bnode /, `${process.execPath} `)
  return spawnSync('sh', ['-c', command], { cwd, encoding: 'utf8', env: { PATH: process.env['PATH'], NODE_OPTIONS } })
}

t.test('a Node that is too old is told in one line, by each command that it cannot run', async (t) => {
  const old = preload("Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })")
  for (const name of ['start', 'dev', 'test', 'build'] as const) {
    const { status, stderr } = script(name, ROOT, old)
    t.equal(status, 1, name)
    t.match(stderr, /^Node\.js 20\.20\.2 cannot run this, which takes 24 or newer\. .*\n$/)
  }
})

t.test('development dependencies that are missing are told in one line', async (t) => {
  const folder = t.testdir({})
  cpSync(path.join(ROOT, 'dev'), path.join(folder, 'dev'), { recursive: true })
  for (const name of ['dev', 'test'] as const) {
    const { status, stderr } = script(name, folder)
    t.equal(status, 1, name)
    t.match(stderr, /^The development dependencies are not installed .*: npm ci --include=dev\n$/)
  }
})
