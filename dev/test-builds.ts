/** What `npm test` builds before it runs anything, and keeps for the next run that needs the same. */
import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fingerprint } from './fingerprint.js'
import { alone } from './lock.ts'

/** A build that no run has used for this long is removed. */
const KEPT_MS = 24 * 60 * 60_000

/**
 * tap with the plugins that package.json names. As it is installed there is a TypeScript plugin in it, which TypeScript 7
 * breaks. What was built says of what: an installation anew takes that with it.
 */
export async function buildTap(root: string): Promise<void> {
  const read = (file: string) => JSON.parse(readFileSync(join(root, file), 'utf8'))
  const stamp = JSON.stringify([read('node_modules/tap/package.json').version, read('package.json').tap.plugin])
  const built = join(root, 'node_modules/@tapjs/test/test-built')
  const file = join(built, 'stamp.json')
  const current = () => existsSync(file) && readFileSync(file, 'utf8') === stamp
  if (current()) return
  const folder = join(root, 'node_modules/.cache/tap-build')
  await alone(folder, async () => {
    if (current()) return
    rmSync(file, { force: true })
    // tap is built by tap: one that was interrupted could not be mended but by an installation.
    const spare = join(folder, 'spare')
    const isWhole = ['esm', 'commonjs'].every((kind) => existsSync(join(built, 'dist', kind, 'index.js')))
    const [from, to] = isWhole ? [built, spare] : [spare, built]
    if (existsSync(from)) {
      rmSync(to, { recursive: true, force: true })
      cpSync(from, to, { recursive: true, verbatimSymlinks: true })
    }
    await promisify(execFile)(process.execPath, [join(root, 'node_modules/.bin/tap'), 'build'], { cwd: root })
    writeFileSync(file, stamp)
  })
}

/**
 * The folder of the service's build from this source. It lies outside of the project: beside what is deployed lies no
 * node_modules either. Throws when it cannot be built.
 */
export async function buildService(root: string): Promise<string> {
  const folder = join(tmpdir(), `service-builds-${process.getuid?.() ?? 0}`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (process.getuid && statSync(folder).uid !== process.getuid()) throw new Error(`${folder} is somebody else's`)
  const dist = join(folder, fingerprint(root))
  await alone(folder, async () => {
    // Its fingerprint comes last: half a build is none.
    if (!existsSync(join(dist, 'fingerprint'))) {
      const { build } = await import('./build.ts')
      await build(root, dist)
    }
    utimesSync(dist, new Date(), new Date())
    for (const other of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, other.name)
      if (other.isDirectory() && Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { recursive: true })
    }
  })
  return dist
}
