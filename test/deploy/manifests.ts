import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { ROOT, run } from '../support/helper.ts'

export const FOLDER = path.join(ROOT, 'deploy/kubernetes')

// biome-ignore lint/suspicious/noExplicitAny: whether it is what it should be is what the tests ask
export type Manifest = any

export const read = (file: string) => parse(readFileSync(path.join(FOLDER, file), 'utf8'))
export const parse = (yaml: string): Manifest[] => parseAllDocuments(yaml).map((document) => document.toJS())

/** Why nothing can be rendered here, if so. */
export const skip = spawnSync('kubectl', ['version', '--client']).error ? 'kubectl is not installed' : false

/** What `kubectl apply -k` would send. */
export async function render(overlay: string, folder = FOLDER): Promise<Manifest[]> {
  return parse((await run('kubectl', ['kustomize', path.join(folder, 'overlays', overlay)])).stdout)
}

export const page = readFileSync(path.join(ROOT, 'docs/kubernetes.md'), 'utf8')
/** The files of a team's overlay that it shows, by path. */
const shown = Object.fromEntries(
  [...page.matchAll(/`deploy\/kubernetes\/(overlays\/[^`]+\.yaml)`(?:(?!```).)*```yaml\n(.*?)```/gs)].map(
    ([, file, text]) => [file as string, text as string],
  ),
)

/** A team's overlay, rendered on a copy of the manifests, with `change` made to its kustomization. */
export function renderTeams(t: Test, change = (kustomization: string) => kustomization): Promise<Manifest[]> {
  const folder = t.testdir({})
  cpSync(FOLDER, folder, { recursive: true })
  for (const [file, text] of Object.entries(shown)) {
    mkdirSync(path.join(folder, path.dirname(file)), { recursive: true })
    writeFileSync(path.join(folder, file), file.endsWith('kustomization.yaml') ? change(text) : text)
  }
  return render('production', folder)
}

/**
 * Writes the manifests as a program over the models of the Kubernetes API: the compiler finds a field that does not
 * exist, and the program, run, a value that the API's schema refuses.
 */
export async function validate(t: Test, manifests: Manifest[], models = 'kubernetes-models'): Promise<void> {
  t.not(manifests.length, 0)
  const lines = manifests.map(({ apiVersion, kind, ...rest }, index) => {
    return (
      `import { ${kind} as Kind${index} } from '${models}/${apiVersion}'\n` +
      `new Kind${index}(${JSON.stringify(rest)}).validate()\n`
    )
  })
  const directory = t.testdir({
    'manifests.ts': lines.join(''),
    'tsconfig.json': JSON.stringify({ extends: path.join(ROOT, 'tsconfig.json'), include: ['manifests.ts'] }),
  })
  const failure = ({ stdout, stderr }: { stdout: string; stderr: string }) => `${stdout}${stderr}`
  const check = (command: string, args: string[]) => run(command, args).then(failure, failure)
  t.equal(await check('tsc', ['--project', directory]), '')
  t.equal(await check('node', [path.join(directory, 'manifests.ts')]), '')
}
