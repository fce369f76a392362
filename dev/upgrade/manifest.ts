/**
 * Merges two package.json that have changed since the third. By line, as git does it, a new dependency beside an updated
 * one is a conflict; by entry it is none. Undefined when both have changed the same entry.
 */
export function mergeManifests(base: string, ours: string, theirs: string): string | undefined {
  try {
    const merged = merge(JSON.parse(base), JSON.parse(ours), JSON.parse(theirs))
    return `${JSON.stringify(merged, null, 2)}\n`
  } catch {
    return undefined
  }
}

function merge(base: unknown, ours: unknown, theirs: unknown): unknown {
  if (same(base, theirs) || same(ours, theirs)) return ours
  if (same(base, ours)) return theirs
  if (!isObject(ours) || !isObject(theirs)) throw new Error('both have changed it')
  const before = isObject(base) ? base : {}
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)])
  const entries = [...keys].map((key) => [key, merge(before[key], ours[key], theirs[key])] as const)
  const kept = entries.filter(([, value]) => value !== undefined)
  return Object.fromEntries(isSorted(Object.keys(ours)) ? kept.sort(([a], [b]) => (a < b ? -1 : 1)) : kept)
}

type Entries = Record<string, unknown>

const isObject = (value: unknown): value is Entries =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** undefined, a missing entry, is the same as itself alone. */
const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

const isSorted = (keys: string[]) => keys.every((key, index) => index === 0 || (keys[index - 1] as string) < key)
