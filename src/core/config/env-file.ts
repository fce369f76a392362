import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseEnv } from 'node:util'

const NAME = /[ \t]*(?:export +)?([A-Za-z_]\w*)[ \t]*=/
const QUOTED = /[ \t]*(?:"[^"]*"|'[^']*'|`[^`]*`)[ \t]*(?:#[^\n]*)?/
/** What may stand ahead of a comment: each quote has its other one there, or none. */
const PAIRED = /(?:[^#"'`\n]|(?<quote>["'`])(?:(?:(?!\k<quote>)[^#\n])*\k<quote>|(?![^\n]*\k<quote>)))*/
const VALUE = new RegExp(`${QUOTED.source}|(?![ \\t]*["'\`])(?:[^#\\n]*|${PAIRED.source}[ \\t]#[^\\n]*)`)
/**
 * A line without a variable; one with its name, and all lines of a quoted value; or one that is `refused`, because Node
 * ignores it, or takes it for something else: a quote ends before the value does, or a `#` cuts it off (nodejs/node issue
 * 54134).
 */
const LINE = new RegExp(`^[ \\t]*(?:#[^\\n]*)?$|^${NAME.source}(?:${VALUE.source})$|^(?<refused>[^\\n]*)$`, 'gm')
/** The name in a line that is refused. What has nothing behind its `=` can be a line of a secret. */
const REFUSED = /^[ \t]*(?:export\s+)?([A-Za-z_][\w.-]*)[ \t]*[=:][ \t]*[^=\s]/

/** What names a database. Where nothing does, `npm run dev` starts one. */
const DATABASE = /^(DATABASE_(MIGRATION_)?URL(_FILE)?|POSTGRES_HOST)$/

/** Whether these variables name a database. An empty one names none. */
export function namesDatabase(env: NodeJS.ProcessEnv): boolean {
  return Object.entries(env).some(([name, value]) => DATABASE.test(name) && value)
}

/**
 * Puts the variables of `.env` into `env`, as Node's own parser reads them: no `$NAME` is expanded. One that is set
 * stays. Throws for a line that is not read as it is meant, by its number and variable.
 */
export function loadEnvFile(root: string, env = process.env): void {
  for (const [name, value] of Object.entries(variables(path.join(root, '.env')))) env[name] ??= value
}

/**
 * The same, and then the servers that `npm run dev` has started, where neither the shell nor `.env` names a database:
 * for a second shell, which may find what an earlier run left. Tells whether there are some.
 */
export function loadDevelopment(root: string, env = process.env): boolean {
  loadEnvFile(root, env)
  if (namesDatabase(env)) return false
  const servers = Object.entries(variables(path.join(root, '.local/dev.env')))
  for (const [name, value] of servers) env[name] ||= value
  return servers.length > 0
}

/** None of a file that is missing, or a folder: Python's virtual environments are often named `.env`. */
function variables(file: string): Record<string, string> {
  try {
    // It leaves out the byte order mark, which Node takes for a part of the first name.
    return parsed(path.basename(file), new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file)))
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'EISDIR') return {}
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw new Error(`${path.basename(file)} is not in UTF-8`)
    throw err
  }
}

function parsed(file: string, content: string): Record<string, string> {
  const text = content.replace(/\r\n?/g, '\n')
  const found: Record<string, string> = {}
  const problems: string[] = []
  for (const { 0: line, 1: name, groups, index } of text.matchAll(LINE)) {
    // Each by itself: behind `NAME=` and a blank Node takes the next line for the value.
    if (name) Object.assign(found, parseEnv(line))
    if (!groups?.['refused']) continue
    const [, refused = 'the line'] = REFUSED.exec(line) ?? []
    problems.push(`${file}:${text.slice(0, index).split('\n').length}: ${refused} is not read as it is meant`)
  }
  if (problems.length === 0) return found
  throw new Error(
    `${problems.join('; ')}: write NAME=value, and quotes of one kind around a value with # or other quotes`,
  )
}
