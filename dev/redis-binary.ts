import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export interface RedisBinary {
  command: string
  env: Record<string, string>
}

/** There is no Redis to run, and none can be had. */
export class RedisMissingError extends Error {
  override name = 'RedisMissingError'
}

const LOCAL = fileURLToPath(import.meta.resolve('../.local'))
const UNPACKED = join(LOCAL, 'redis')

const run = promisify(execFile)
const say = (text: string) => process.stderr.write(`${text}\n`)

/**
 * A Redis to run: the one on PATH; else Debian's or Ubuntu's, downloaded and unpacked below `.local`, which needs no
 * root and installs nothing; else one compiled by redis-memory-server. Throws RedisMissingError with the command that installs one.
 */
export async function redisBinary(): Promise<RedisBinary> {
  const installed = onPath('redis-server') ?? onPath('valkey-server')
  if (installed) return { command: installed, env: {} }
  const failures: string[] = []
  for (const source of [unpackedFromApt, compiled]) {
    try {
      return await source()
    } catch (error) {
      failures.push((error as Error).message.trim())
    }
  }
  const install = process.platform === 'darwin' ? 'brew install redis' : 'apt-get install redis-server (as root)'
  throw new RedisMissingError(`no Redis found; install one with: ${install}, or set REDIS_URL\n${failures.join('\n')}`)
}

function onPath(name: string): string | undefined {
  const files = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name))
  return files.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

async function unpackedFromApt(): Promise<RedisBinary> {
  if (!existsSync(UNPACKED)) {
    if (!onPath('apt-get')) throw new Error('apt-get: not on PATH')
    say('Redis is not installed: downloading and unpacking the packages of this release …')
    await download()
  }
  // One folder for each kind of machine, such as usr/lib/x86_64-linux-gnu; none if the system has all of the libraries.
  const libraries = await Array.fromAsync(glob(join(UNPACKED, 'usr', 'lib', '*-linux-*')))
  const command = join(UNPACKED, 'usr', 'bin', 'redis-server')
  const env = { LD_LIBRARY_PATH: libraries.join(delimiter) }
  await run(command, ['--version'], { env })
  return { command, env }
}

async function download(): Promise<void> {
  mkdirSync(LOCAL, { recursive: true })
  // Unpacked under another name, so that two runs at once or an interrupted one leave no half of it.
  const work = mkdtempSync(join(LOCAL, 'redis-unpacking-'))
  try {
    const archives = join(work, 'cache', 'archives')
    const lists = join(work, 'lists')
    for (const folder of [archives, lists]) mkdirSync(join(folder, 'partial'), { recursive: true })
    const own = ['-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User=root', '-o', `Dir::Cache=${join(work, 'cache')}`]
    // apt names what this machine lacks; reinstall has it fetch the two also where they are installed off PATH.
    const fetch = ['install', '--download-only', '--reinstall', '--no-install-recommends', '--yes']
    const packages = ['redis-server', 'redis-tools']
    await run('apt-get', [...own, ...fetch, ...packages]).catch(async () => {
      // No package lists, or old ones: root alone may renew the system's.
      own.push('-o', `Dir::State::lists=${lists}`)
      await run('apt-get', [...own, 'update'])
      await run('apt-get', [...own, ...fetch, ...packages])
    })
    const root = join(work, 'root')
    for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg', ['-x', join(archives, file), root])
    }
    if (!existsSync(UNPACKED)) renameSync(root, UNPACKED)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

async function compiled(): Promise<RedisBinary> {
  say('Compiling a Redis, which takes a minute or two …')
  const { RedisBinary: builder } = await import('redis-memory-server')
  return { command: await builder.getPath({ downloadDir: join(LOCAL, 'redis-compiled') }), env: {} }
}
