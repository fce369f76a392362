/** `node skeleton/table.ts`: the table of docs/features.md, of the same list that init follows. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Feature, features } from './features.ts'

export const PAGE = 'docs/features.md'
const TABLE = /(<!-- features -->\n)[\s\S]*?(<!-- \/features -->)/

/** The page with a row for each of these features: what to delete to be without it. */
export function withTable(page: string, names: string[]): string {
  const rows = names.map((name) => row(name, features[name] as Feature))
  const table = `| Without | Which is | Delete | And |\n| --- | --- | --- | --- |\n${rows.join('')}`
  return page.replace(TABLE, (_, start, end) => `${start}${table}${end}`)
}

function row(
  name: string,
  { description, note, remove = [], edit = [], packages = [], scripts = [] }: Feature,
): string {
  const files = [...new Set(edit.map(({ file }) => file))]
  const todo = [
    files.length > 0 && `its lines in ${code(files)}`,
    packages.length > 0 && `\`npm uninstall ${packages.join(' ')}\``,
    scripts.length > 0 && `${code(scripts)} in \`package.json\``,
  ].filter(Boolean)
  const sentences = [todo.join('; '), note].filter(Boolean)
  return `| \`${name}\` | ${description} | ${code(remove)} | ${sentences.join('. ')} |\n`
}

const code = (names: string[]) => names.map((name) => `\`${name}\``).join(', ')

if (import.meta.main) {
  const page = path.join(import.meta.dirname, '..', PAGE)
  writeFileSync(page, withTable(readFileSync(page, 'utf8'), Object.keys(features)))
}
