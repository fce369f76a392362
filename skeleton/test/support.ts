import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'

export const ROOT = path.join(import.meta.dirname, '../..')

export interface Result {
  code: number
  stdout: string
  stderr: string
}

/** Runs a command to its end, whatever its exit code. */
export function run(cwd: string, command: string, ...args: string[]): Promise<Result> {
  const options = { cwd, maxBuffer: 2 ** 26, env: { ...process.env, ...AS_NOBODY } }
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr })
    })
  })
}

/** A git that nobody has configured: what it has to be told it must be told by the code. */
const AS_NOBODY = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }
const AS_SOMEBODY = ['-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.com']

export function git(cwd: string, ...args: string[]): string {
  const options = { cwd, encoding: 'utf8', env: { ...process.env, ...AS_NOBODY }, maxBuffer: 2 ** 26 } as const
  return execFileSync('git', [...AS_SOMEBODY, ...args], options)
}

export function folder(t: Test): string {
  const made = mkdtempSync(path.join(tmpdir(), 'skeleton-test-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A repository with one commit of the project as it lies here, changes that are not committed yet among them. */
export function clone(t: Test): string {
  const copy = path.join(folder(t), 'clone')
  mkdirSync(copy)
  const listed = git(ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate')
  const deleted = new Set(git(ROOT, 'ls-files', '-z', '--deleted').split('\0'))
  for (const file of listed.split('\0').filter((name) => name && !deleted.has(name)))
    cpSync(path.join(ROOT, file), path.join(copy, file))
  commit(copy, 'The skeleton', { init: true })
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'))
  return copy
}

/** Commits all that is in the folder. */
export function commit(cwd: string, message: string, { init = false } = {}): string {
  if (init) git(cwd, 'init', '--quiet', '--initial-branch=main')
  git(cwd, 'add', '--all')
  git(cwd, 'commit', '--quiet', '--message', message)
  return git(cwd, 'rev-parse', 'HEAD').trim()
}
