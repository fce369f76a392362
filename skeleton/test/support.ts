import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'
import { copyProject } from '../copy.ts'

/** Removed at the end of the test. */
export function folder(t: Test): string {
  const made = mkdtempSync(path.join(tmpdir(), 'skeleton-test-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

export function clone(t: Test): string {
  const copy = path.join(folder(t), 'clone')
  copyProject(copy)
  return copy
}
