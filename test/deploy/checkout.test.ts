import { spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { commit, git } from '../dev/repository.ts'
import { ROOT } from '../support/helper.ts'

const { status, stdout } = spawnSync('git', ['ls-files', '--eol'], { cwd: ROOT, encoding: 'utf8' })

t.test('every text file is stored with LF', { skip: status === 0 ? false : 'no repository' }, async (t) => {
  const lines = stdout.split('\n').filter((line) => /^i\/(crlf|mixed) /.test(line))
  t.same(lines, [], 'git add --renormalize . mends it')
})

t.test('a checkout has LF, also with the settings of Git for Windows', async (t) => {
  const from = t.testdir({ '.gitignore': 'windows\n' })
  const to = path.join(from, 'windows')
  copyFileSync(path.join(ROOT, '.gitattributes'), path.join(from, '.gitattributes'))
  writeFileSync(path.join(from, 'script.sh'), 'true\n')
  git(from, 'init', '--quiet')
  commit(from, 'start', '.')
  git(from, '-c', 'core.autocrlf=true', 'clone', '--quiet', '.', to)
  t.equal(readFileSync(path.join(to, 'script.sh'), 'utf8'), 'true\n')
})
