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

/** Features are loaded at each boot: imported as at the top of the file, they need neither a chunk nor an `await`. */
const staticFeatures: esbuild.Plugin = {
  name: 'static-features',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/(app|\w+\/parts)\.ts$/ }, async ({ path: file }) => {
      const imports: string[] = []
      const contents = (await readFile(file, 'utf8'))
        .replace(/\bimport \{ (load|compose) \}/, (_, name) => `import { ${OF_LOADED[name]} as ${name} }`)
        .replace(/\bawait (?=(load|compose)\b)/, '')
        .replace(/\bimport\(('[^']+\/index\.ts')\)/g, (_, module) => {
          const name = `feature${imports.length}`
          imports.push(`import * as ${name} from ${module}\n`)
          return name
        })
      return { contents: imports.join('') + contents, loader: 'ts' }
    })
  },
}

/** For CommonJS packages, which ask for modules of Node. By names that no module of a bundle has imported. */
const MODULE = `import { createRequire as forBundle } from 'node:module'
const require = forBundle(import.meta.url), __dirname = import.meta.dirname
`
/** Around a script, as kept-code.cjs calls it. */
const FUNCTION = "(function(exports,require,module,__filename,__dirname,importModule){'use strict';"
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
    // As deep as src/migrations/, from where `__dirname` leads to the migrations.
    chunkNames: 'src/chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    define: { 'import.meta.dirname': '__dirname' },
    plugins: [settings, staticFeatures],
    write: false,
  })
  const src = path.join(dist, 'src')
  const scripts = await commonJs(outputFiles.filter(({ path: file }) => file.startsWith(src)))
  for (const { path: file, text } of outputFiles) {
    const script = scripts?.get(file)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, script ?? MODULE + text)
  }
  if (scripts) writeFileSync(path.join(src, 'package.json'), '{ "type": "commonjs" }\n')
  await warmUp(dist)
  writeFileSync(path.join(dist, 'fingerprint'), fingerprint(root))
}

/**
 * The files by name, as scripts, of which alone V8 keeps code. The migrations stay modules, which import the rest. Undefined
 * where one awaits at its top level, which a script cannot.
 */
async function commonJs(files: esbuild.OutputFile[]): Promise<Map<string, string> | undefined> {
  const scripts = files.map(async ({ path: file, text }): Promise<[string, string]> => {
    const source = text
      .replace(/\bimport\(("\.[^"]+")\)/g, 'Promise.resolve().then(()=>require($1))')
      .replace(/\bimport\(/g, 'importModule(')
      .replaceAll('import.meta.url', 'require("node:url").pathToFileURL(__filename).href')
    const { code } = await esbuild.transform(source, { ...OUTPUT, format: 'cjs', logLevel: 'silent' })
    // Node wraps the entries itself. Around the others it would be another copy in memory.
    if (path.basename(path.dirname(file)) === 'chunks') return [file, `${FUNCTION}${code}})`]
    return [file, `'use strict';${file.endsWith('server.js') ? KEPT_CODE : ''}${code}`]
  })
  try {
    return new Map(await Promise.all(scripts))
  } catch (err) {
    const [{ text, location }] = (err as esbuild.TransformFailure).errors as [esbuild.Message]
    if (!text.startsWith('Top-level await')) throw err
    const where = location?.lineText.slice(location.column).slice(0, 80)
    console.error(`dist/ starts slower than it could: a module of src/ awaits at its top level, at \`${where}\``)
    return undefined
  }
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
