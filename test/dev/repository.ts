import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { copyProject, shell } from '../support/helper.ts'

/** A git that nobody has configured. */
export function git(cwd: string, ...args: string[]): string {
  const who = ['-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.com']
  const env = { PATH: process.env['PATH'], GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }
  return execFileSync('git', [...who, ...args], { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export function commit(cwd: string, message: string, paths = 'migrations'): void {
  git(cwd, 'add', '--all', paths)
  git(cwd, 'commit', '--quiet', '--message', message)
}

export const put = (cwd: string, file: string, content: string) =>
  writeFileSync(path.join(cwd, 'migrations', file), content)

/** A repository whose `main` has these migrations too, and a branch of it. */
export async function repository(t: Test, merged: Record<string, string> = {}): Promise<string> {
  const cwd = await copyProject(t)
  git(cwd, 'init', '--quiet', '--initial-branch=main')
  commit(cwd, 'start')
  git(cwd, 'branch', 'branch')
  for (const [file, content] of Object.entries(merged)) put(cwd, file, content)
  git(cwd, 'commit', '--quiet', '--allow-empty', '--message', 'next')
  if (Object.keys(merged).length > 0) commit(cwd, 'merged')
  git(cwd, 'checkout', '--quiet', 'branch')
  return cwd
}

export type Outcome = { code: number; output: string }

/** Runs a script of package.json. */
export function npm(cwd: string, script: string, args: string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return tried(shell('npm', ['run', '--silent', script, '--', ...args], env, cwd))
}

/** What a command says, whether it fails or not. */
export function tried(command: Promise<string>): Promise<Outcome> {
  return command.then(
    (output) => ({ code: 0, output }),
    ({ code, stdout, stderr }) => ({ code, output: stdout + stderr }),
  )
}
