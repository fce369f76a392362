import { cpSync, existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { copyProject, ROOT, shell } from '../support/helper.ts'
import { commit, git } from './repository.ts'

const SOMEBODY = {
  GIT_AUTHOR_NAME: 'Somebody',
  GIT_AUTHOR_EMAIL: 'somebody@example.com',
  GIT_COMMITTER_NAME: 'Somebody',
  GIT_COMMITTER_EMAIL: 'somebody@example.com',
  GIT_CONFIG_GLOBAL: '/dev/null',
}

t.test('npm version commits the new version in every place that has it', async (t) => {
  const cwd = await copyProject(t)
  // What init has left out is not there.
  for (const name of ['.env.example', 'Dockerfile', 'compose.yaml', 'deploy', 'docs', 'package-lock.json'])
    if (existsSync(path.join(ROOT, name))) cpSync(path.join(ROOT, name), path.join(cwd, name), { recursive: true })
  git(cwd, 'init', '--quiet')
  commit(cwd, 'start', '.')
  await shell('npm', ['version', '98.7.6'], SOMEBODY, cwd)
  t.equal(git(cwd, 'describe', '--tags', '--dirty'), 'v98.7.6\n')
  const overlays = globSync('deploy/kubernetes/overlays/migrate-*/kustomization.yaml', { cwd })
  for (const file of ['package.json', 'package-lock.json', 'Dockerfile', ...overlays])
    t.match(readFileSync(path.join(cwd, file), 'utf8'), '98.7.6', file)
})
