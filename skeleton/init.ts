/** `npm run init`: turns a clone of the skeleton into a service. It commits nothing, so that git can undo all of it. */
import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import type { Answers } from './ask.ts'
import { features } from './features.ts'
import {
  type Choices,
  descriptionProblem,
  FAULTS,
  nameProblem,
  optional,
  ordered,
  packagesOf,
  read,
  render,
  write,
} from './render.ts'

const ROOT = path.join(import.meta.dirname, '..')
const USAGE = `usage: npm run init -- --name NAME --features LIST [--description TEXT] [--no-faults] [--source URL]

  --name         of the service: a-z, 0-9 and -, such as orders
  --features     the optional features to keep, such as tenants,cache; or all; or none
  --description  one line: what the service does
  --no-faults    without the fault suite, the tests that break the backends
  --source       git URL of the skeleton, for later upgrades; that of origin by default

With a terminal it asks for what is not given. The features:
${optional.map((name) => `  ${name.padEnd(13)}  ${features[name]?.description}`).join('\n')}`
const DESCRIPTION = 'A service on PostgreSQL and Redis'

/** It is refused, and nothing has changed. */
class Refusal extends Error {}

try {
  await main()
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

async function main(): Promise<void> {
  const flags = parsedFlags()
  if (flags.help) return say(USAGE)
  const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'))
  if ('skeleton' in manifest) throw new Refusal('This is a service already: package.json has a "skeleton".')
  refuseUnlessClean()
  if (!existsSync(path.join(ROOT, 'node_modules'))) throw new Refusal('Run npm ci first.')
  const problemOf = (name: string) => nameProblem(name, packagesOf(manifest))
  const answers = await completed(flags, problemOf)
  const source = sourceOf(flags.source)
  const files = read(ROOT, git('ls-files', '-z').split('\0').filter(Boolean))
  const commit = git('rev-parse', 'HEAD').trim()
  const choices: Choices = { ...answers, source, commit }
  // Throws before the first file is written, if at all.
  const result = render(files, choices)
  write(ROOT, files, result)
  const failed = npm()
  say(summary(choices, files.size - result.size))
  if (failed.length === 0) return
  process.stderr.write(`\nThese failed, see above: run them again.\n${failed.map((line) => `  ${line}\n`).join('')}`)
  process.exitCode = 1
}

function parsedFlags() {
  try {
    return parseArgs({
      options: {
        name: { type: 'string' },
        description: { type: 'string' },
        features: { type: 'string' },
        faults: { type: 'boolean' },
        source: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
      allowNegative: true,
    }).values
  } catch (error) {
    throw new Refusal(`${(error as Error).message}\n\n${USAGE}`)
  }
}

type Flags = ReturnType<typeof parsedFlags>

function refuseUnlessClean(): void {
  let status: string
  try {
    status = git('status', '--porcelain')
    git('rev-parse', '--verify', 'HEAD')
  } catch {
    throw new Refusal('This is no git repository with a commit: git has to be able to undo what init does.')
  }
  if (status)
    throw new Refusal(`Commit these first, or put them aside, so that git can undo what init does:\n${status}`)
}

/** From the flags, and from the terminal what they leave open. */
async function completed(flags: Flags, problemOf: (name: string) => string | undefined): Promise<Answers> {
  refuse(flags.name === undefined ? undefined : problemOf(flags.name))
  refuse(flags.description === undefined ? undefined : descriptionProblem(flags.description))
  const chosen = flags.features === undefined ? undefined : featuresOf(flags.features)
  const { name, faults = true, description = DESCRIPTION } = flags
  if (name !== undefined && chosen) return { name, description, features: chosen, faults }
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new Refusal(`Without a terminal, --name and --features are needed.\n\n${USAGE}`)
  const { ask } = await import('./ask.ts')
  const answers = await ask({ ...flags, features: chosen }, { problemOf, description: DESCRIPTION })
  if (!answers) throw new Refusal('Nothing has changed.')
  return answers
}

function featuresOf(list: string): string[] {
  if (list === 'all') return optional
  const chosen = list === 'none' ? [] : list.split(',').map((name) => name.trim())
  try {
    return ordered(chosen)
  } catch (error) {
    throw new Refusal((error as Error).message)
  }
}

function refuse(problem: string | undefined): void {
  if (problem) throw new Refusal(problem)
}

/** Without a password, which must not be committed. */
function sourceOf(given: string | undefined): string | null {
  let url = given
  try {
    url ??= git('remote', 'get-url', 'origin').trim()
  } catch {
    return null
  }
  return url.replace(/^(https?:\/\/)[^/@]*@/, '$1').replace(/^(\w+:\/\/[^/@:]*):[^/@]*@/, '$1@')
}

function git(...args: string[]): string {
  return execFileSync('git', args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 26,
  })
}

/**
 * Nothing is to be fetched: what is left is in package-lock.json. node_modules loses what was removed, unless it is a
 * link to that of another folder.
 */
function npm(): string[] {
  const linked = lstatSync(path.join(ROOT, 'node_modules')).isSymbolicLink() ? ['--package-lock-only'] : []
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
  const commands = [
    ['install', '--ignore-scripts', '--prefer-offline', ...quiet, ...linked],
    ['run', '--silent', 'docs'],
  ]
  return commands.flatMap((args) => {
    try {
      execFileSync('npm', args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
      return []
    } catch {
      return [`npm ${args.filter((arg) => !arg.startsWith('-')).join(' ')}`]
    }
  })
}

function summary({ name, features: kept, faults, source }: Choices, removed: number): string {
  const without = [...optional.filter((feature) => !kept.includes(feature)), ...(faults ? [] : [FAULTS])]
  return `
${name} is a service now: ${removed} files are removed.
  kept      ${kept.join(', ') || 'no optional feature'}
  left out  ${without.join(', ') || 'nothing'}
  source    ${source ?? 'not known: this clone has no origin. Write its git URL into package.json, as "skeleton": {"source": …}'}

Nothing is committed. To undo all of it: git reset --hard && npm ci. To go on:
  npm test
  git add --all && git commit --message "Start ${name}"
  git remote ${source ? 'set-url' : 'add'} origin URL    # of the service's own repository
Later: npm run upgrade -- VERSION takes over what the skeleton has changed since.`
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
