import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { copyProject, ROOT, run } from '../support/helper.ts'

const wrong: Record<string, { file: string; code: string; rule: string }> = {
  'an import from core/ to a feature': {
    file: 'src/core/errors.ts',
    code: "import '../database/guard.ts'\n",
    rule: 'noRestrictedImports',
  },
  'one from a folder of core/': {
    file: 'src/core/health/health.ts',
    code: "import '../../database/guard.ts'\n",
    rule: 'noRestrictedImports',
  },
  'one that is loaded late': {
    file: 'src/core/retry.ts',
    code: "await import('../database/guard.ts')\n",
    rule: 'noRestrictedImports',
  },
  'a cycle, of types too': {
    file: 'src/core/reasons.ts',
    code: "import type { Feature } from './feature.ts'\nexport type Cyclic = Feature\n",
    rule: 'noImportCycles',
  },
}

const sources = Object.values(wrong).map(({ file, code }) => [
  file,
  `${code}${readFileSync(path.join(ROOT, file), 'utf8')}`,
])
const files = Object.fromEntries([...sources, ['biome.json', readFileSync(path.join(ROOT, 'biome.json'), 'utf8')]])
const cwd = await copyProject(t, files)
const { stderr } = await run('biome', ['lint', '--vcs-enabled=false', '--max-diagnostics=none', 'src'], { cwd }).catch(
  (err) => err,
)

for (const [name, { file, rule }] of Object.entries(wrong)) {
  t.test(`the linter refuses ${name}`, async (t) => {
    t.match(stderr, new RegExp(`^${file}:.*${rule}`, 'm'))
  })
}
