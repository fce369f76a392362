import { execFileSync } from 'node:child_process'

/** Set while git runs a hook or an alias, these would lead each git of this process to that repository. */
const OF_ANOTHER_REPOSITORY =
  /^GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES)$/
const inherited = Object.entries(process.env).filter(([name]) => !OF_ANOTHER_REPOSITORY.test(name))

/** It is refused, and nothing has changed. */
export class Refusal extends Error {}

export type Git = (...args: string[]) => string

/** Runs git in a folder; returns what it prints, throws with its message. */
export function gitIn(cwd: string, env: Record<string, string> = {}): Git {
  return (...args) =>
    execFileSync('git', args, {
      cwd,
      env: { ...Object.fromEntries(inherited), ...env },
      encoding: 'utf8',
      // A terminal may be asked for a password.
      stdio: ['inherit', 'pipe', 'pipe'],
      maxBuffer: 2 ** 28,
    })
}

/** Undefined when git refuses. */
export function tried(git: Git, ...args: string[]): string | undefined {
  try {
    return git(...args)
  } catch {
    return undefined
  }
}

export const messageOf = (error: unknown) => String((error as { stderr?: string }).stderr || error).trim()

/** The paths of output with -z. */
export const pathsOf = (output: string) => output.split('\0').filter(Boolean)
