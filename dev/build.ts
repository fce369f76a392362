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
import { fingerprint } from './fingerprint.js'

const ROOT = path.join(import.meta.dirname, '..')

/**
 * env-schema has Ajv compile the schema of JSON Schema, at each boot, to check schemas that are constants and that the
 * tests of the source have checked; and optimize a function that is called once. Without, boot takes a sixth less.
 */
const trustSchemas: esbuild.Plugin = {
  name: 'trust-schemas',
  setup({ onLoad }) {
    onLoad({ filter: /\/env-schema\/index\.js$/ }, async ({ path: file }) => {
      const code = await readFile(file, 'utf8')
      const contents = code.replace('new Ajv({', '$& meta: false, validateSchema: false, code: { optimize: false },')
      if (contents === code) throw new Error('env-schema makes its Ajv otherwise than it did')
      return { contents }
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
    plugins: [trustSchemas, staticFeatures],
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
