import { globSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import manifest from '../package.json' with { type: 'json' }
import { features } from '../src/app.ts'
import { settingsOf } from '../src/core/config/env.ts'
import { composeExample, composeSettings } from './compose.ts'

const ROOT = path.join(import.meta.dirname, '..')
const TABLE = /(<!-- environment -->\n)[\s\S]*(<!-- \/environment -->)/

/** What repeats package.json, where it does. */
const REPEATED: [files: string, text: RegExp, value: string][] = [
  ['Dockerfile', /(?<=^ARG VERSION=).*$/m, manifest.version],
  ['Dockerfile', /(?<=image\.title=").*(?=")/, manifest.name],
  ['Dockerfile', /(?<=image\.description=").*(?=")/, manifest.description],
  ['Dockerfile', /(?<=image\.licenses=").*(?=")/, manifest.license],
  ['deploy/kubernetes/overlays/migrate-*/kustomization.yaml', /(?<=newTag: )[^\s}]+/, manifest.version],
]

/** The files that repeat the settings of the features, or package.json, as they should read: contents by path. */
export function documents(): Record<string, string> {
  const page = path.join(ROOT, 'docs/configuration.md')
  const repeating: Record<string, string> = {}
  for (const [files, text, value] of REPEATED) {
    for (const file of globSync(files, { cwd: ROOT }).map((name) => path.join(ROOT, name))) {
      repeating[file] = (repeating[file] ?? readFileSync(file, 'utf8')).replace(text, () => value)
    }
  }
  return {
    ...repeating,
    [path.join(ROOT, '.env.example')]: example(),
    [path.join(ROOT, 'deploy/compose/settings.env')]: composeSettings(settings().map(({ name }) => name)),
    [page]: readFileSync(page, 'utf8').replace(TABLE, (_, start, end) => `${start}${table()}${end}`),
  }
}

interface Setting {
  name: string
  values: string
  fallback: string
  description: string
}

function settings(): Setting[] {
  return Object.entries(settingsOf(features).properties).map(([name, property]) => {
    const {
      type,
      enum: values,
      default: fallback = '',
      description = '',
    } = property as {
      type: string
      enum?: string[]
      default?: unknown
      description?: string
    }
    return { name, values: values?.join(', ') ?? type, fallback: String(fallback), description }
  })
}

function example(): string {
  const head = '# Every setting, with its default. Copy to .env and uncomment what differs; a real variable wins.\n'
  const lines = settings().map(
    ({ name, values, fallback, description }) => `\n# ${description} (${values})\n# ${name}=${fallback}\n`,
  )
  return head + lines.join('') + composeExample()
}

function table(): string {
  const rows = settings().map(
    ({ name, values, fallback, description }) =>
      `| \`${name}\` | ${values} | ${fallback && `\`${fallback}\``} | ${description} |\n`,
  )
  return `| Variable | Type | Default | What it is |\n| --- | --- | --- | --- |\n${rows.join('')}`
}

if (import.meta.main) {
  for (const [file, content] of Object.entries(documents())) writeFileSync(file, content)
}
