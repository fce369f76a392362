import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Refusal } from './git.ts'

/** The entry "skeleton" of package.json, which `npm run init` writes: what the service was made of. */
export interface SkeletonRecord {
  source: string | null
  version: string
  commit: string | null
  name: string
  description: string
  features: string[]
  faults: boolean
}

export function readRecord(root: string): SkeletonRecord & { source: string } {
  const { skeleton } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    skeleton?: SkeletonRecord
  }
  if (!skeleton) throw new Refusal('package.json has no "skeleton": this was not made by npm run init.')
  if (!skeleton.source)
    throw new Refusal('package.json does not say where the skeleton is: write its git URL into "skeleton": {"source"}.')
  return { ...skeleton, source: skeleton.source }
}
