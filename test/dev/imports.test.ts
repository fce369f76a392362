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

for (const [name, { file, code, rule }] of Object.entries(wrong)) {
  t.test(`the linter refuses ${name}`, async (t) => {
    const [source, config] = [file, 'biome.json'].map((one) => readFileSync(path.join(ROOT, one), 'utf8'))
    const cwd = await copyProject(t, { [file]: `${code}${source}`, 'biome.json': config as string })
    const { stderr } = await run('biome', ['lint', '--vcs-enabled=false', 'src'], { cwd }).catch((err) => err)
    t.match(stderr, new RegExp(`${file}[\\s\\S]*${rule}`))
  })
}
