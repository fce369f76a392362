import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'
import type { ConfigError } from '../../src/core/config/env.ts'
import { configure } from './app.ts'

/** A database that nobody asks: its password must be in no message. */
export const DATABASE_URL = 'postgres://user:hunter2@database.example/app'

/** Everything that is wrong with these variables. */
export async function problems(t: Test, variables: NodeJS.ProcessEnv): Promise<string[]> {
  const err = await configure(t, variables).then(
    () => undefined,
    (reason: ConfigError) => reason,
  )
  t.notMatch(err?.message, /hunter2/, 'no value of a secret')
  return err?.problems ?? []
}

/** Each of these is one problem, and no more. */
export function eachIsOneProblem(t: Test, cases: [NodeJS.ProcessEnv, string][]): void {
  for (const [variables, problem] of cases) {
    t.test(`a contradiction is an error: ${problem}`, async (t) => {
      t.same(await problems(t, variables), [problem])
    })
  }
}

export async function secretFile(t: Test, content: string): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'test-secret-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const name = path.join(directory, 'secret')
  await writeFile(name, content)
  return name
}
