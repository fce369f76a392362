/**
 * `npm run build`: dist/, the service and all that it imports in a handful of files, which Node loads in a fraction of
 * the time that it needs for some 900, and the code that V8 makes of them. Migrations stay files of their own. No source
 * maps: names are kept and lines are short, so a stack trace can be read as it is, and reading maps would cost what the
 * build saves.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { type Import, parse } from 'es-module-lexer/js'
import * as esbuild from 'esbuild'
import { compiledSettings } from './compiled-settings.ts'
import { fingerprint } from './fingerprint.js'

const ROOT = path.join(import.meta.dirname, '..')
const KEPT_CODE = readFileSync(path.join(import.meta.dirname, 'kept-code.cjs'), 'utf8')

/** The settings are those of the project's own folder: what they are, its modules say. */
const settings: esbuild.Plugin = {
  name: 'settings',
  setup({ initialOptions: { absWorkingDir = ROOT }, onLoad }) {
    onLoad({ filter: /\/env-schema\/index\.js$/ }, async () => {
      const load = (file: string) => import(path.join(absWorkingDir, file))
      const [{ settingsOf }, { features }] = await Promise.all([load('src/core/config/env.ts'), load('src/app.ts')])
      return { contents: compiledSettings(settingsOf(features)), resolveDir: path.join(ROOT, 'node_modules') }
    })
  },
}

/** What the source awaits, as it is of modules that are loaded. */
const OF_LOADED: Record<string, string> = { load: 'loaded', compose: 'composed' }
const FEATURE = /\bimport\(('[^']+\/index\.ts')\)/g

/** Features are loaded at each boot: imported as at the top of the file, they need neither a chunk nor an `await`. */
const staticFeatures: esbuild.Plugin = {
  name: 'static-features',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/(app|\w+\/parts)\.ts$/ }, async ({ path: file }) => {
      const source = await readFile(file, 'utf8')
      const [given, name = ''] = /\bimport \{ (load|compose) \}/.exec(source) ?? []
      const awaited = new RegExp(`\\bawait (?=${name}\\b)`, 'g')
      // Somebody may have written it otherwise. Then it is left to wait.
      const waits = !given || source.match(awaited)?.length !== 1 || /\/index\.ts'\)\./.test(source)
      const imports: string[] = []
      const features = source.replace(FEATURE, (_, module) => {
        const feature = `feature${imports.length}`
        imports.push(`import * as ${feature} from ${module}\n`)
        return waits ? `Promise.resolve(${feature})` : feature
      })
      const contents = waits
        ? features
        : features.replace(given, `import { ${OF_LOADED[name]} as ${name} }`).replace(awaited, '')
      return { contents: imports.join('') + contents, loader: 'ts' }
    })
  },
}

/** For CommonJS packages, which ask for modules of Node. By names that no module of a bundle has imported. */
const MODULE = "import { createRequire as forBundle } from 'node:module'\nconst require = forBundle(import.meta.url)\n"
/** Around a script, as kept-code.cjs calls it. */
const FUNCTION = "(function(exports,require,module,__filename,__dirname,import$,meta$){'use strict';"
const OUTPUT = {
  platform: 'node',
  // Comments would be a third of it.
  legalComments: 'none',
  minifyWhitespace: true,
  lineLimit: 120,
} as const

/** Writes `dist/`, in the folder of the project unless given. The fingerprint comes last: half a build is none. */
export async function build(root = ROOT, dist = path.join(root, 'dist')): Promise<void> {
  rmSync(dist, { recursive: true, force: true })
  const { outputFiles } = await esbuild.build({
    ...OUTPUT,
    absWorkingDir: root,
    entryPoints: globSync(['src/{server,healthcheck}.ts', 'migrations/*.{js,ts}'], { cwd: root }),
    outbase: '.',
    outdir: dist,
    // As deep as src/migrations/, from where `import.meta.dirname` leads to the migrations.
    chunkNames: 'src/chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    plugins: [settings, staticFeatures],
    write: false,
  })
  const nameOf = (file: string) => path.relative(dist, file).replaceAll(path.sep, '/')
  const texts = new Map(outputFiles.map(({ path: file, text }) => [nameOf(file), text]))
  for (const [file, text] of (await asScripts(texts)) ?? Array.from(texts, ([file, text]) => [file, MODULE + text])) {
    mkdirSync(path.dirname(path.join(dist, file)), { recursive: true })
    writeFileSync(path.join(dist, file), text)
  }
  await warmUp(dist)
  writeFileSync(path.join(dist, 'fingerprint'), fingerprint(root))
}

/**
 * The files, by name, as scripts, of which alone V8 keeps code. The migrations stay modules, which import the rest.
 * Undefined where a module awaits at its top level, which a script cannot.
 */
async function asScripts(texts: Map<string, string>): Promise<[file: string, text: string][] | undefined> {
  const files: [string, string][] = [
    ['src/package.json', '{ "type": "commonjs" }\n'],
    ['src/kept-code.js', KEPT_CODE],
  ]
  try {
    for (const [file, text] of texts) {
      const { dir, name } = path.parse(file)
      if (dir === 'migrations') files.push([file, `import '../src/kept-code.js'\n${MODULE}${ofScripts(text)}`])
      else if (dir === 'src/chunks') files.push([file, await toScript(text)])
      else {
        files.push([file, `require('./kept-code.js')\nrequire('./${name}.main.js')\n`])
        files.push([`${dir}/${name}.main.js`, await toScript(text)])
      }
    }
    return files
  } catch (err) {
    // esbuild's, or the lexer's, which has none of these.
    const [error] = (err as Partial<esbuild.TransformFailure>).errors ?? []
    if (!error?.text.startsWith('Top-level await')) throw err
    const where = error.location?.lineText.slice(error.location.column).slice(0, 80)
    console.error(`dist/ starts slower than it could: a module of src/ awaits at its top level, at \`${where}\``)
    return undefined
  }
}

async function toScript(module: string): Promise<string> {
  const source = edited(module, (each) => {
    if (each.type === 'import-meta') return 'meta$'
    if (isOfBuild(each)) return `Promise.resolve().then(()=>require(${JSON.stringify(each.specifier)}))`
    return module.slice(each.importStart, each.importEnd).replace('import', 'import$')
  })
  const { code } = await esbuild.transform(source, { ...OUTPUT, format: 'cjs', logLevel: 'silent' })
  return `${FUNCTION}${code}})`
}

/** A migration that imports them: Node has all exports of a script in its default one. */
function ofScripts(module: string): string {
  return edited(module, (each) => {
    const text = module.slice(each.importStart, each.importEnd)
    return isOfBuild(each) ? `${text}.then(script=>script.default)` : text
  })
}

function isOfBuild({ specifier }: Import): boolean {
  return specifier?.startsWith('.') === true
}

/** With another text in place of each `import()` and `import.meta`. */
function edited(module: string, edit: (each: Import) => string): string {
  let text = ''
  let at = 0
  for (const each of parse(module)[0]) {
    if (each.type !== 'dynamic' && each.type !== 'import-meta') continue
    text += module.slice(at, each.importStart) + edit(each)
    at = each.importEnd
  }
  return text + module.slice(at)
}

/** Starts and stops it once, without backends, and keeps the code that V8 has made meanwhile in `dist/cache/`. */
async function warmUp(dist: string): Promise<void> {
  const nowhere = '127.0.0.1:1'
  const child = spawn(process.execPath, [path.join(dist, 'src/server.js'), '--keep-code'], {
    env: {
      PORT: '0',
      OTEL_TRACES_EXPORTER: 'otlp', // what is loaded for traces is compiled too
      DATABASE_URL: `postgres://${nowhere}`,
      REDIS_URL: `redis://${nowhere}`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let output = ''
  for await (const line of createInterface(child.stdout)) {
    output += `${line}\n`
    if (line.includes('Server listening')) child.kill()
  }
  const [code] = await exited
  // A setting that has to be given is asked for when all is loaded.
  if (code !== 0 && !output.includes('CONFIG_INVALID'))
    throw new Error(`the build does not start (${code}):\n${output}`)
}

if (import.meta.main) await build()
