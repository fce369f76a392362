/**
 * `npm run build`: dist/, the service and all that it imports in a handful of files, which Node loads in a fraction of
 * the time that it needs for some 900. Migrations stay files of their own. No source maps: names are kept and lines are
 * short, so a stack trace can be read as it is, and reading maps would cost what the build saves.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import * as esbuild from 'esbuild'
import { compiledSettings } from './compiled-settings.ts'
import { fingerprint } from './fingerprint.js'

const ROOT = path.join(import.meta.dirname, '..')

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

/** Features are loaded at each boot: imported as at the top of the file, they need no chunk of their own. */
const staticFeatures: esbuild.Plugin = {
  name: 'static-features',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/(app|\w+\/parts)\.ts$/ }, async ({ path: file }) => {
      const imports: string[] = []
      const contents = (await readFile(file, 'utf8')).replace(/\bimport\(('[^']+\/index\.ts')\)/g, (_, module) => {
        const name = `feature${imports.length}`
        imports.push(`import * as ${name} from ${module}\n`)
        return `Promise.resolve(${name})`
      })
      return { contents: imports.join('') + contents, loader: 'ts' }
    })
  },
}

/** Writes `dist/`, in the folder of the project unless given. The fingerprint comes last: half a build is none. */
export async function build(root = ROOT, dist = path.join(root, 'dist')): Promise<void> {
  rmSync(dist, { recursive: true, force: true })
  await esbuild.build({
    absWorkingDir: root,
    entryPoints: globSync(['src/{server,healthcheck}.ts', 'migrations/*.{js,ts}'], { cwd: root }),
    outbase: '.',
    outdir: dist,
    // As deep as src/migrations/, from where `import.meta.dirname` leads to the migrations.
    chunkNames: 'src/chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    // For CommonJS packages, which ask for modules of Node. By names that no module of a bundle has imported.
    banner: {
      js: "import { createRequire as forBundle } from 'node:module'\nconst require = forBundle(import.meta.url)",
    },
    // Comments would be a third of it.
    legalComments: 'none',
    minifyWhitespace: true,
    lineLimit: 120,
    plugins: [settings, staticFeatures],
  })
  await warmUp(dist)
  writeFileSync(path.join(dist, 'fingerprint'), fingerprint(root))
}

/** Starts and stops it once, without backends: Node keeps what it compiled meanwhile in `dist/cache/`. */
async function warmUp(dist: string): Promise<void> {
  const nowhere = '127.0.0.1:1'
  const child = spawn(process.execPath, [path.join(dist, 'src/server.js')], {
    env: {
      NODE_COMPILE_CACHE: path.join(dist, 'cache'),
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
