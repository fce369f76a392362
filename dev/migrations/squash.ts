/**
 * `pg_dump … | npm run squash:migrations`: one migration in the place of all. docs/database.md, "Squash", has the command
 * of pg_dump, and what to add by hand.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { gitIn, Refusal } from '../upgrade/git.ts'
import { findings, nameOf, ROOT, refusing, target } from './check.ts'

const FOLDER = path.join(ROOT, 'migrations')
const PG_DUMP = "pg_dump --schema-only --clean --no-owner --exclude-table='kysely_migration*'"

/**
 * What a dump has beside the statements of the schema: comments, settings, commands of psql, and extensions' own. A
 * schema that is named would keep the service from DATABASE_SCHEMA. Bodies and texts come first, because they stay.
 */
const FOREIGN = [
  String.raw`(?<kept>(\$\w*\$)[\s\S]*?\2|'public\.(?<name>(?:[^']|'')*)'(?=::regclass)|'(?:[^']|'')*')`,
  String.raw`^--.*\n|^\\.*\n|^SET .*;\n|^SELECT pg_catalog\.set_config.*\n`,
  String.raw`^(COMMENT ON|DROP) EXTENSION .*;\n|\bpublic\.(?=[\w"])`,
]

await refusing(main)

async function main(): Promise<void> {
  const files = readdirSync(FOLDER)
    .filter((file) => !file.startsWith('.'))
    .toSorted()
  const [last, before] = files.toReversed()
  if (last === undefined || before === undefined) throw new Refusal('There are no two migrations to squash.')
  await refuseUnmerged(files)
  const dump = process.stdin.isTTY ? '' : await text(process.stdin)
  // --clean has it drop all before it creates the first.
  const start = dump.search(/^--\n-- Name: /m)
  const [down, up] = [dump.slice(0, start), dump.slice(start)].map(statements) as [string, string]
  if (!/^DROP /m.test(down) || /^CREATE TABLE kysely_migration/m.test(up) || /^COPY /m.test(up))
    throw new Refusal(`That is no dump of ${PG_DUMP} DATABASE, of a database that is migrated`)
  const squashed = path.join(FOLDER, `${last.slice(0, 14)}_squashed.ts`)
  for (const file of files) rmSync(path.join(FOLDER, file))
  writeFileSync(squashed, migration(files.map(nameOf), up, down))
  execFileSync(path.join(ROOT, 'node_modules/.bin/biome'), ['format', '--write', squashed], { cwd: ROOT })
  console.log(`${path.relative(ROOT, squashed)} is in the place of ${files.length} migrations, which git has.`)
}

/** A database has to have all of them, or none, and a release those that were merged. */
async function refuseUnmerged(files: string[]): Promise<void> {
  const git = gitIn(ROOT)
  const ref = target(git)
  if (!ref) return
  const { merged, problems } = await findings(git, ref)
  if (problems.length > 0) throw new Refusal(problems.join('\n'))
  const own = files.filter((file) => !merged.includes(file))
  if (own.length > 0) throw new Refusal(`${own.join(', ')}: not in ${ref}. Squash what is merged and deployed.`)
}

function statements(dump: string): string {
  const all = new RegExp(FOREIGN.join('|'), 'gm')
  const own = dump.replace(all, (...args) => {
    const { kept, name } = args.at(-1) as { kept?: string; name?: string }
    return name === undefined ? (kept ?? '') : `'${name}'`
  })
  return own.replace(/\n{3,}/g, '\n\n').trim()
}

function migration(replaces: string[], up: string, down: string): string {
  const quoted = (sql: string) => sql.replace(/[\\`]|\$\{/g, '\\$&')
  return `import { type Kysely, sql } from 'kysely'

/** Where these are applied, this is recorded in their place, and not run. */
export const replaces = ${JSON.stringify(replaces)}

export async function up(db: Kysely<never>): Promise<void> {
  await sql.raw(UP).execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql.raw(DOWN).execute(db)
}

const UP = \`
SET LOCAL check_function_bodies = off;

${quoted(up)}
\`

const DOWN = \`
${quoted(down)}
\`
`
}
