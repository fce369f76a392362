/**
 * `npm run build`: dist/, the service and all that it imports in a handful of files, which Node loads in a fraction of
 * the time that it needs for some 900. Migrations stay files of their own. No source maps: nothing is renamed or
 * folded, so a stack trace can be read as it is, and reading maps would cost what the build saves.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { type Plugin, rolldown } from 'rolldown'
import { fingerprint } from './fingerprint.js'

const ROOT = path.join(import.meta.dirname, '..')

/**
 * env-schema has Ajv compile the schema of JSON Schema, at each boot, to check schemas that are constants and that the
 * tests of the source have checked; and optimize a function that is called once. Without, boot takes a sixth less.
 */
const trustSchemas: Plugin = {
  name: 'trust-schemas',
  transform: {
    filter: { id: /\/env-schema\/index\.js$/ },
    handler(code) {
      const trusting = code.replace('new Ajv({', '$& meta: false, validateSchema: false, code: { optimize: false },')
      if (trusting === code) this.error('env-schema makes its Ajv otherwise than it did')
      return trusting
    },
  },
}

/** V8 keeps a file that is not all ASCII in two bytes a character: 4 MB more. After a backslash the escape is another. */
const ascii: Plugin = {
  name: 'ascii',
  renderChunk: (code) =>
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
    code.replace(/(?<!\\)[^\x00-\x7f]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`),
}

/** Writes `dist/` in the project's folder. The fingerprint comes last: half a build is none. */
export async function build(root = ROOT): Promise<void> {
  const dist = path.join(root, 'dist')
  const entries = globSync(['src/{server,healthcheck}.ts', 'migrations/*.{js,ts}'], { cwd: root })
  const bundle = await rolldown({
    cwd: root,
    input: Object.fromEntries(entries.map((file) => [file.slice(0, -path.extname(file).length), file])),
    platform: 'node',
    plugins: [trustSchemas, ascii],
  })
  // As deep as src/database/, from where `import.meta.dirname` leads to the migrations.
  await bundle.write({ dir: dist, cleanDir: true, chunkFileNames: 'src/chunks/[name].js', comments: false })
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
  if (code !== 0) throw new Error(`the build does not start (${code}):\n${output}`)
}

if (import.meta.main) await build()
