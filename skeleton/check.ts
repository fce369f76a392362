/**
 * `npm run check:skeleton`: services made by init, with every optional feature left out alone, kept alone, all and none,
 * must pass type check and linter; those with all and with none their tests too (--no-tests: none does; --all-tests: each
 * does, in an hour). An argument chooses the cases whose title contains it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import { copyProject, type Result, run } from './copy.ts'
import { optional } from './render.ts'

/** As long as a name may be, and with what only quotes make an identifier. */
const NAME = 'orders-of-the-customers-in-all-countries'
const TAIL = 60

interface Case {
  title: string
  flags: string[]
  /** Commands of the service that must pass, as npm takes them. */
  commands: string[][]
}

const { values, positionals } = parseArgs({
  options: { tests: { type: 'boolean', default: true }, 'all-tests': { type: 'boolean', default: false } },
  allowNegative: true,
  allowPositionals: true,
})
const STATIC = [
  ['run', '--silent', 'typecheck'],
  ['run', '--silent', 'lint'],
]

const TESTED = values.tests ? [...STATIC, ['test', '--', '--reporter=terse']] : STATIC
const OTHERS = values['all-tests'] ? TESTED : STATIC

const features = (kept: string[]) => ['--features', kept.join(',') || 'none']
const without = (name: string) => optional.filter((other) => other !== name)

const cases: Case[] = [
  { title: 'all', flags: features(optional), commands: TESTED },
  { title: 'all, without the fault suite', flags: [...features(optional), '--no-faults'], commands: OTHERS },
  ...optional.map((name) => ({ title: `without ${name}`, flags: features(without(name)), commands: OTHERS })),
  ...optional.map((name) => ({ title: `${name} alone`, flags: features([name]), commands: OTHERS })),
  { title: 'none', flags: features([]), commands: TESTED },
  { title: 'none, without the fault suite', flags: [...features([]), '--no-faults'], commands: OTHERS },
]

const temporary = mkdtempSync(path.join(tmpdir(), 'check-skeleton-'))
try {
  for (const [index, { title, flags, commands }] of cases.entries()) {
    if (positionals.length > 0 && !positionals.some((text) => title.includes(text))) continue
    const failure = await check(path.join(temporary, String(index)), flags, commands)
    process.stdout.write(failure === undefined ? `ok      ${title}\n` : `NOT OK  ${title}\n${failure}\n`)
    if (failure !== undefined) process.exitCode = 1
  }
} finally {
  rmSync(temporary, { recursive: true, force: true })
}

/** The end of what the first command that failed has printed. */
async function check(folder: string, flags: string[], commands: string[][]): Promise<string | undefined> {
  copyProject(folder)
  const made = await run(folder, 'node', 'skeleton/init.ts', '--name', NAME, ...flags)
  if (made.code !== 0) return tail('init', made)
  for (const command of commands) {
    const result = await run(folder, 'npm', ...command)
    if (result.code !== 0) return tail(`npm ${command.join(' ')}`, result)
  }
  const named = await run(
    folder,
    'git',
    'grep',
    '--ignore-case',
    '--line-number',
    '-e',
    'footing',
    '--',
    ':!package.json',
    ':!LICENSE',
  )
  if (named.stdout) return tail('git grep footing', named)
  rmSync(folder, { recursive: true })
  return undefined
}

function tail(command: string, { stdout, stderr }: Result): string {
  const lines = stripVTControlCharacters(`${stdout}${stderr}`).trimEnd().split('\n')
  // tap counts, again and again, while it runs.
  const news = lines.filter((line) => line && !/^(Asserts|Suites): /.test(line))
  return `${command}\n${news.slice(-TAIL).join('\n')}`
}
