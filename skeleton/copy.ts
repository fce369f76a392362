/** Copies of the project, for checks that change them. */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'

export const ROOT = path.join(import.meta.dirname, '..')

export interface Result {
  code: number
  stdout: string
  stderr: string
}

/** A git that nobody has configured, and this Node. */
const env = {
  ...process.env,
  PATH: `${path.dirname(process.execPath)}:${process.env['PATH']}`,
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
}
/** tap gives each child its hooks by NODE_OPTIONS, with which tsc cannot be loaded. */
const WITHOUT_HOOKS = ['NODE_OPTIONS=']
const AS_SOMEBODY = ['-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.com']
const maxBuffer = 2 ** 26

/** Runs a command to its end, whatever its exit code. */
export function run(cwd: string, command: string, ...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile('env', [...WITHOUT_HOOKS, command, ...args], { cwd, env, maxBuffer }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr })
    })
  })
}

export function git(cwd: string, ...args: string[]): string {
  return execFileSync('git', [...AS_SOMEBODY, ...args], { cwd, env, maxBuffer, encoding: 'utf8' })
}

/** Commits all that is in the folder; returns the commit. */
export function commit(cwd: string, message: string, { init = false } = {}): string {
  if (init) git(cwd, 'init', '--quiet', '--initial-branch=main')
  git(cwd, 'add', '--all')
  git(cwd, 'commit', '--quiet', '--message', message)
  return git(cwd, 'rev-parse', 'HEAD').trim()
}

/** The files of the project as it lies here, with what is not committed yet. */
export function projectFiles(): string[] {
  const listed = git(ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate')
  const deleted = new Set(git(ROOT, 'ls-files', '-z', '--deleted').split('\0'))
  return listed.split('\0').filter((name) => name && !deleted.has(name))
}

/** Makes a repository with one commit, of the project as it lies here, and with a link to its packages. */
export function copyProject(folder: string): void {
  mkdirSync(folder)
  for (const file of projectFiles()) cpSync(path.join(ROOT, file), path.join(folder, file))
  commit(folder, 'The skeleton', { init: true })
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'))
}
