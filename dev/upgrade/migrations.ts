import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** New names by old, for migrations. */
export type Renames = Map<string, string>

/**
 * Kysely refuses a migration that sorts before one that is applied, and the service has migrations of its own that are
 * younger than the skeleton's: new ones take their place behind them. Empty when they are there already.
 */
export function newNames(added: string[], own: string[], now = new Date()): Renames {
  const last = own.toSorted().at(-1) ?? ''
  if (added.every((name) => name > last)) return new Map()
  // A name of the service may be ahead of the clock.
  const lastTime = Date.parse(`${last.slice(0, 14)}Z`.replace(/^(....)(..)(..)(..)(..)(..)/, '$1-$2-$3T$4:$5:$6'))
  const start = Math.max(now.getTime(), Number.isNaN(lastTime) ? 0 : lastTime + 1000)
  return new Map(
    added.toSorted().map((name, index) => {
      const time = new Date(start + index * 1000).toISOString().replace(/\D/g, '').slice(0, 14)
      return [name, name.replace(/^\d*/, time)]
    }),
  )
}

/** Renames them in a folder, and in all that names them. */
export function renameMigrations(folder: string, renames: Renames): void {
  if (renames.size === 0) return
  for (const [from, to] of renames)
    renameSync(path.join(folder, 'migrations', from), path.join(folder, 'migrations', to))
  const stem = (name: string) => name.replace(/\.\w+$/, '')
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    const content = readFileSync(file)
    if (content.includes(0)) continue
    const text = content.toString()
    const result = [...renames].reduce((all, [from, to]) => all.replaceAll(stem(from), stem(to)), text)
    if (result !== text) writeFileSync(file, result)
  }
}
