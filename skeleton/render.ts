/**
 * Turns the skeleton into a service: `render()` over the contents of files, and, run by itself, over the checkout that
 * it lies in (`node skeleton/render.ts CHOICES`, in JSON). `npm run upgrade` of a service runs the render of two versions
 * and compares the results, so this file needs no package, and its arguments and report must stay readable to the
 * upgrades of older services.
 */
import { readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Edit, features, type Part, skeleton, together } from './features.ts'
import { PAGE, withTable } from './table.ts'

/** Files by path from the root, with `/`; undefined for one that is no text, which can be removed alone. */
export type Files = Map<string, string | undefined>

/** What is chosen for a service, and where it comes from. package.json records it: an upgrade renders with the same. */
export interface Choices {
  name: string
  description: string
  /** The optional features to keep. */
  features: string[]
  /** Whether to keep the tests that break the backends. */
  faults: boolean
  /** The git URL of the skeleton; null when it is not known, which `npm run upgrade` needs. */
  source: string | null
  /** The commit of the skeleton that the service is made of. */
  commit: string | null
}

/** What the upgrade of a service has to know of a render. */
export interface Report {
  version: string
  /** All optional features that this version has. */
  features: string[]
  /** Files that a command writes: to be made again, not to be merged. */
  generated: string[]
}

/** The fault suite is asked for apart: it is no part of the service. */
export const FAULTS = 'faults'
export const optional: string[] = Object.keys(features).filter((name) => name !== FAULTS)

const TEMPLATE = 'skeleton/README.service.md'
const FIRST_VERSION = '0.1.0'
/** Of the service, as image and manifests name it. */
const VERSION = /(?<=VERSION=|newTag: )\d+\.\d+\.\d+/g
const GENERATED = ['package-lock.json', '.env.example', 'deploy/compose/settings.env']
/** MIT asks for its notice in every copy. */
const NOTICE = 'LICENSE'
/** What stands in between is generated: `npm run docs` fills it in. */
const GENERATED_TABLE = /(<!-- environment -->\n)[\s\S]*?(<!-- \/environment -->)/
const NAME = /^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$/
/** A word of YAML that is no string there, or a name that PostgreSQL, PgBouncer or Compose has given away. */
const TAKEN = new Set(
  'false n no null off on true y yes postgres template0 template1 public none pgbouncer redis database'.split(' '),
)

/** What is wrong with the name of a service, which becomes that of a package, roles, databases, containers. */
export function nameProblem(name: string, packages: string[] = []): string | undefined {
  if (!NAME.test(name))
    return `"${name}" is no name for a service: 1 to 40 of a-z, 0-9 and -, a letter first, no - at the end`
  if (TAKEN.has(name) || packages.includes(name)) return `the name "${name}" is taken`
  return undefined
}

/** It is written into quotes and table cells of several languages. */
export function descriptionProblem(description: string): string | undefined {
  if (description.trim() !== '' && description.length <= 200 && !/[\p{Cc}"\\`$]/u.test(description)) return undefined
  return 'a description is one line of at most 200 characters, without " \\ ` and $'
}

/**
 * The features to keep, in the order of the list, without those that need one that goes. Throws for one that does not
 * exist.
 */
export function ordered(chosen: string[]): string[] {
  const unknown = chosen.filter((name) => !optional.includes(name))
  if (unknown.length > 0)
    throw new Error(`no such feature: ${unknown.join(', ')}. There are ${optional.join(', ')}, or all, or none.`)
  return optional.filter((name) => chosen.includes(name) && chosen.includes(features[name]?.needs ?? name))
}

/** The files of the service. Throws when the manifest names what is not there, since it is wrong then. */
export function render(original: Files, choices: Choices): Files {
  const manifest = parsedManifest(original)
  const problem = nameProblem(choices.name, packagesOf(manifest)) ?? descriptionProblem(choices.description)
  if (problem) throw new Error(problem)
  const kept = new Set([...ordered(choices.features), ...(choices.faults ? [FAULTS] : [])])
  const gone = Object.keys(features).filter((name) => !kept.has(name))
  const parts: [string, Part][] = [
    ...gone.map((name): [string, Part] => [name, features[name] as Part]),
    ...together.filter(({ without }) => without.every((name) => gone.includes(name))).map(joint),
    ['skeleton', skeleton],
  ]
  const files = new Map(original)
  for (const [name, part] of parts) remove(original, files, name, part.remove ?? [])
  const edits = parts.flatMap(([name, part]) => (part.edit ?? []).map((edit) => [name, edit] as const))
  // First: a line that goes may have one of these texts in it.
  for (const [name, edit] of edits) replace(original, files, name, edit)
  for (const [name, edit] of edits) removeLines(original, files, name, edit)
  const template = original.get(TEMPLATE)
  if (template === undefined) throw new Error(`${TEMPLATE} is missing`)
  files.set('README.md', template)
  for (const [file, text] of files) {
    if (text === undefined || file === NOTICE || GENERATED.includes(file)) continue
    let result = text
    if (/^(Dockerfile|deploy\/)/.test(file)) result = result.replace(VERSION, FIRST_VERSION)
    if (file.endsWith('.md')) {
      const page = forFeatures(result.replace(GENERATED_TABLE, '$1$2'), kept)
      result = withoutDeadLinks(file, page, original, files)
    }
    result = renamed(result, manifest.name, choices.name)
    files.set(
      file,
      result.replaceAll(manifest.description, () => choices.description),
    )
  }
  const page = files.get(PAGE)
  if (page !== undefined) files.set(PAGE, withTable(page, [...kept]))
  fillIn(files, choices)
  const { source, commit, name, description, faults } = choices
  const kinds = { features: optional.filter((feature) => kept.has(feature)), faults }
  const record = { source, version: manifest.version, commit, name, description, ...kinds }
  files.set('package.json', packageJson(files.get('package.json') as string, parts, record))
  return files
}

function joint({ without, ...part }: (typeof together)[number]): [string, Part] {
  return [without.join(' and '), part]
}

function remove(original: Files, files: Files, name: string, paths: string[]): void {
  for (const removed of paths) {
    const within = (file: string) => file === removed || file.startsWith(`${removed}/`)
    const named = [...original.keys()].filter(within)
    if (named.length === 0) throw new Error(`skeleton/features.ts, ${name}: there is no ${removed}`)
    for (const file of named) files.delete(file)
  }
}

/** Features are left out in any combination, so no edit may rely on another. */
function replace(original: Files, files: Files, name: string, { file, from, to = '' }: Edit): void {
  if (from === undefined) return
  mustHave(original, name, file, from)
  const content = files.get(file)
  // It may have gone with another feature.
  if (content === undefined) return
  if (!content.includes(from)) throw new Error(`skeleton/features.ts, ${name}: another feature has changed "${from}"`)
  files.set(
    file,
    content.replaceAll(from, () => to),
  )
}

function removeLines(original: Files, files: Files, name: string, { file, lines = [] }: Edit): void {
  for (const text of lines) mustHave(original, name, file, text)
  const content = files.get(file)
  if (content === undefined || lines.length === 0) return
  const kept = content.split('\n').filter((line) => !lines.some((text) => line.includes(text)))
  // A list that has lost all its lines closes up, as the formatter wants it.
  files.set(file, kept.join('\n').replace(/([([])\n\s*(?=[)\]])/g, '$1'))
}

function mustHave(original: Files, name: string, file: string, text: string): void {
  if (!original.get(file)?.includes(text))
    throw new Error(`skeleton/features.ts, ${name}: there is no "${text}" in ${file}`)
}

/** Also in names of environment variables, and at the start of a sentence. */
function renamed(text: string, from: string, to: string): string {
  const capital = from.charAt(0).toUpperCase() + from.slice(1)
  return text
    .replaceAll(from, to)
    .replaceAll(from.toUpperCase(), to.toUpperCase().replaceAll('-', '_'))
    .replaceAll(capital, to)
}

/** Without the text that is marked as that of a feature which is left out, and without the marks, also those in others. */
function forFeatures(page: string, kept: Set<string>): string {
  const marked = /^<!-- feature: (.+) -->\n([\s\S]*?)^<!-- \/feature: \1 -->\n/gm
  return page.replace(marked, (_, name: string, text: string) => {
    if (!(name in features)) throw new Error(`a page marks text as that of ${name}, which is no feature`)
    return kept.has(name) ? forFeatures(text, kept) : ''
  })
}

/**
 * A link to a page that went is its text; an item of a list, or a row of a table, that begins with such a link goes.
 */
function withoutDeadLinks(file: string, text: string, original: Files, files: Files): string {
  const gone = (url: string) => {
    if (/^([a-z]+:|#|$)/.test(url)) return false
    const target = path.posix.join(path.posix.dirname(file), url.replace(/#.*/, '')).replace(/\/$/, '')
    const has = (of: Files) => [...of.keys()].some((name) => name === target || name.startsWith(`${target}/`))
    return has(original) && !has(files)
  }
  const kept: string[] = []
  let going = false
  for (const line of text.split('\n')) {
    // The rest of an item that went is indented.
    if (going && /^\s+\S/.test(line)) continue
    const first = /^(?:\s*(?:[-*]|\d+\.) |\| *)[^[|]{0,3}\[[^\]]*\]\(([^)\s]+)\)/.exec(line)?.[1]
    going = first !== undefined && gone(first)
    if (!going) kept.push(line.replace(/\[([^\]]*)\]\(([^)\s]+)\)/g, (link, label, url) => (gone(url) ? label : link)))
  }
  return kept.join('\n')
}

function fillIn(files: Files, { name, description }: Choices): void {
  const pages = [...files].filter(([file]) => /^docs\/[^/]+\.md$/.test(file)).sort(([a], [b]) => (a < b ? -1 : 1))
  const docs = pages.map(([file, text = '']) => {
    const [, title = file, answers = ''] = /^# (.*)\n\nThis page (?:answers|shows) ([^.]*)\./.exec(text) ?? []
    return `- [${title}](${file}): ${answers.replace('\n', ' ')}\n`
  })
  const values: Record<string, string> = { name, description, docs: docs.join('').trimEnd() }
  const readme = files.get('README.md') as string
  files.set(
    'README.md',
    readme.replace(/\{\{(\w+)\}\}/g, (whole, key: string) => values[key] ?? whole),
  )
}

interface Manifest {
  name: string
  version: string
  description: string
  [key: string]: unknown
}

const DEPENDENCIES = ['dependencies', 'devDependencies', 'optionalDependencies'] as const

function parsedManifest(files: Files): Manifest {
  const manifest = JSON.parse(files.get('package.json') ?? '{}') as Manifest
  if ('skeleton' in manifest) throw new Error('this is a service already: package.json has a "skeleton"')
  return manifest
}

export function packagesOf(manifest: Record<string, unknown>): string[] {
  return DEPENDENCIES.flatMap((kind) => Object.keys((manifest[kind] ?? {}) as object))
}

/** Without what the parts bring, with the record of the choices. */
function packageJson(text: string, parts: [string, Part][], record: object): string {
  const { license: _, repository: __, bugs: ___, homepage: ____, ...manifest } = JSON.parse(text) as Manifest
  const result: Manifest = { ...manifest, version: FIRST_VERSION, skeleton: record }
  for (const [name, { packages = [], scripts = [] }] of parts) {
    for (const key of packages) drop(name, key, [...DEPENDENCIES, 'allowScripts', 'overrides'])
    for (const key of scripts) drop(name, key, ['scripts'])
  }
  if (Object.keys((result['overrides'] ?? {}) as object).length === 0) delete result['overrides']
  return `${JSON.stringify(result, null, 2)}\n`

  function drop(part: string, key: string, from: string[]): void {
    const holders = from.map((kind) => (manifest[kind] ?? {}) as Record<string, unknown>).filter((held) => key in held)
    // Another part may have dropped it before.
    if (holders.length === 0 && !text.includes(`"${key}":`))
      throw new Error(`skeleton/features.ts, ${part}: there is no "${key}" in package.json`)
    for (const held of holders) delete held[key]
  }
}

/** The files of a folder by the given paths. */
export function read(root: string, paths: string[]): Files {
  return new Map(
    paths.map((file) => {
      const content = readFileSync(path.join(root, file))
      return [file, content.includes(0) ? undefined : content.toString()]
    }),
  )
}

/** Writes what differs, and removes what is gone together with the folders that it leaves empty. */
export function write(root: string, before: Files, after: Files): void {
  for (const file of before.keys()) {
    if (after.has(file)) continue
    rmSync(path.join(root, file))
    removeEmpty(root, path.dirname(file))
  }
  for (const [file, text] of after)
    if (text !== undefined && text !== before.get(file)) writeFileSync(path.join(root, file), text)
}

function removeEmpty(root: string, folder: string): void {
  if (folder === '.' || readdirSync(path.join(root, folder)).length > 0) return
  rmdirSync(path.join(root, folder))
  removeEmpty(root, path.dirname(folder))
}

export function report(files: Files): Report {
  return { version: parsedManifest(files).version, features: optional, generated: GENERATED }
}

/** All files of a checkout, where nothing but the checkout is. */
function everyFile(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
    .filter((file) => !/^(\.git|node_modules)(\/|$)/.test(file))
}

if (import.meta.main) {
  const root = path.join(import.meta.dirname, '..')
  const files = read(root, everyFile(root))
  // A version that no longer has a feature, or never had it, is told so by its report.
  const choices = JSON.parse(process.argv[2] ?? '') as Choices
  const known = choices.features.filter((name) => optional.includes(name))
  write(root, files, render(files, { ...choices, features: known }))
  process.stdout.write(`${JSON.stringify(report(files))}\n`)
}
