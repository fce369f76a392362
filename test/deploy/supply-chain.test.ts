import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ROOT } from '../support/helper.ts'

const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')
const dockerfile = read('Dockerfile').replaceAll('\\\n', '')

t.test('an action is named by a commit, with its version beside it', async (t) => {
  const workflows = globSync('.github/workflows/*.{yml,yaml}', { cwd: ROOT })
  const uses = workflows.flatMap((file) => read(file).match(/uses: (?!\.\/).*/g) ?? [])
  t.ok(uses.length > 0)
  for (const line of uses) t.match(line, /^uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
})

t.test('what Dependabot is to update is where it looks', async (t) => {
  const found: Record<string, (folder: string) => boolean> = {
    npm: (folder) => existsSync(path.join(folder, 'package-lock.json')),
    'github-actions': (folder) => existsSync(path.join(folder, '.github/workflows')),
    // It resolves no ARG (dependabot-core issue 2057), so the name stands behind FROM.
    docker: (folder) => /^FROM [\w./-]+:[\w.-]+(@\S+)? AS/m.test(readFileSync(path.join(folder, 'Dockerfile'), 'utf8')),
    'docker-compose': (folder) => /^ +image: [\w./-]+:/m.test(readFileSync(path.join(folder, 'compose.yaml'), 'utf8')),
  }
  const entries = [...read('.github/dependabot.yml').matchAll(/ecosystem: (\S+)\n +directory: (\S+)/g)]
  t.ok(entries.length >= 3)
  for (const [, ecosystem, directory] of entries)
    t.ok(found[ecosystem as string]?.(path.join(ROOT, directory as string)), `${ecosystem}`)
})

t.test('a token for npm is mounted where packages are installed, and in no layer of the image', async (t) => {
  const installs = dockerfile.match(/^RUN.*npm ci.*$/gm) ?? []
  t.ok(installs.length > 0)
  for (const line of installs) {
    t.match(line, '--mount=type=secret,id=npmrc,target=/root/.npmrc')
    t.match(line, '--mount=type=bind,source=.npmrc,target=.npmrc')
  }
  t.notMatch(dockerfile, /^COPY.*npmrc/m)
})
