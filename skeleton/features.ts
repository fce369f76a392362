/**
 * The optional features: what each of them is, and what goes when it is left out. `npm run init` follows it, and so can
 * you by hand. Features are left out in any combination, so what belongs to two of them is named by both. All that is
 * named here must be there: a text that matches nothing is an error, which keeps the list true.
 */

export interface Edit {
  file: string
  /** Each line that contains one of these goes. */
  lines?: string[]
  /** Each occurrence becomes `to`, or goes. */
  from?: string
  to?: string
}

export interface Part {
  /** Files and folders that go. */
  remove?: string[]
  edit?: Edit[]
  /** Of package.json. */
  packages?: string[]
  scripts?: string[]
}

export interface Feature extends Part {
  description: string
  /** Features that it does not work without. */
  needs?: string[]
}

export const features: Record<string, Feature> = {
  kubernetes: {
    description: 'manifests for Kubernetes, with a job or the boot as the one that migrates',
    remove: ['deploy/kubernetes', 'test/kubernetes.test.ts'],
  },
  bench: {
    description: 'the bench: the service beside others, its costs, its behaviour in outages',
    remove: ['bench'],
    edit: [{ file: 'tsconfig.json', from: '"bench/*.ts", ' }],
    scripts: ['bench', 'bench:faults', 'soak'],
  },
  faults: {
    description: 'the fault suite: tests that stop, freeze and cut off the backends',
    remove: ['test/faults'],
  },
}

/** What several features share, and goes when all of them are left out. */
export const together: (Part & { without: string[] })[] = []

/** What belongs to the skeleton alone, and is gone from every service. */
export const skeleton: Part = {
  remove: ['skeleton', 'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE'],
  edit: [
    { file: 'tsconfig.json', from: '"skeleton", ' },
    { file: 'package.json', from: ',\n      "skeleton/test/**/*.test.ts"' },
    { file: '.ci/run', lines: ['npm run check:skeleton'] },
    { file: 'Dockerfile', lines: ['org.opencontainers.image.licenses'] },
  ],
  packages: ['@clack/prompts'],
  scripts: ['init', 'check:skeleton'],
}
