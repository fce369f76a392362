import { readFileSync } from 'node:fs'
import type { Config } from './settings.ts'

/** The secret's present value: from its `…_FILE`, so that a rotated one is seen, else from the environment. */
export function secret(config: Config, name: string): string | undefined {
  const { [`${name}_FILE`]: file, [name]: value } = config as unknown as Record<string, string | undefined>
  return file === undefined ? value : readSecret(file)
}

function readSecret(file: string): string {
  return readFileSync(file, 'utf8').trim()
}

/** Puts the secret's file into the variables under the name of the secret. Returns what is wrong with it. */
export function resolveSecret(env: NodeJS.ProcessEnv, name: string): string[] {
  const file = env[`${name}_FILE`]
  if (file === undefined) return []
  const problems = env[name] === undefined ? [] : [`${name} and ${name}_FILE are both set`]
  try {
    const value = readSecret(file)
    if (value === '') problems.push(`${name}_FILE names an empty file`)
    else env[name] = value
  } catch (err) {
    problems.push(`${name}_FILE cannot be read (${(err as NodeJS.ErrnoException).code})`)
  }
  return problems
}
