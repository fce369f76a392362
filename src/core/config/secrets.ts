import { readFileSync } from 'node:fs'
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from './settings.ts'

/**
 * The secret's present value: from its `…_FILE`, so that a rotated one is seen, else from the environment. Throws when
 * the file is missing or empty.
 */
export function secret(config: Config, name: string): string | undefined {
  const { [`${name}_FILE`]: file, [name]: value } = config as unknown as Record<string, string | undefined>
  return file === undefined ? value : readSecret(file)
}

/**
 * Returns a function that reads a secret again at each call: from its `…_FILE`, so that a rotated one is seen, else from
 * the environment. `use` turns it into what is wanted, or throws a message without the value. Throws itself if the value
 * of the boot is of no use. Later the last value stays when the file is missing or of no use, and each new reason is
 * logged once.
 */
export function rotating<T>(
  config: Config,
  name: string,
  use: (value: string | undefined) => T,
  log?: FastifyBaseLogger,
): () => T {
  const { [`${name}_FILE`]: file, [name]: value } = config as unknown as Record<string, string | undefined>
  let last = use(value)
  let told: string | undefined
  return () => {
    if (file === undefined) return last
    try {
      last = use(secret(config, name))
      told = undefined
    } catch (err) {
      const { code, message } = err as NodeJS.ErrnoException
      const problem = code ?? message
      if (problem !== told)
        log?.warn({ setting: `${name}_FILE`, problem }, 'cannot use the new secret: the last one stays')
      told = problem
    }
    return last
  }
}

function readSecret(file: string): string {
  const value = readFileSync(file, 'utf8').trim()
  if (value === '') throw new Error('is empty')
  return value
}

/** Puts the secret's file into the variables under the name of the secret. Returns what is wrong with it. */
export function resolveSecret(env: NodeJS.ProcessEnv, name: string): string[] {
  const file = env[`${name}_FILE`]
  if (file === undefined) return []
  const problems = env[name] === undefined ? [] : [`${name} and ${name}_FILE are both set`]
  try {
    env[name] = readSecret(file)
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException
    problems.push(code ? `${name}_FILE cannot be read (${code})` : `${name}_FILE names an empty file`)
  }
  return problems
}
