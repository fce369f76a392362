/**
 * `npm run bench`: this service beside what it could be instead, in one run, on one machine, as ratios.
 * Prints the tables and writes them to bench/RESULTS.md. `-- --quick` is for work on the bench: short, and not written;
 * `-- storm start`, by name, runs some of it; `-- profile` shows where the time goes.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import manifest from '../package.json' with { type: 'json' }
import type { Bench, Measured } from './bench.ts'
import { cache } from './cache.ts'
import { costs } from './costs.ts'
import { latency } from './latency.ts'
import { Load } from './load.ts'
import dependencies from './package.json' with { type: 'json' }
import { profile } from './profile.ts'
import { reads } from './reads/measure.ts'
import { replicas } from './replicas.ts'
import { targetsMarkdown } from './report.ts'
import { Servers } from './servers.ts'
import { start } from './start.ts'
import { storm } from './storm.ts'
import { traces } from './traces.ts'
import { work } from './work/measure.ts'

const FOLDER = import.meta.dirname
const RESULTS = path.join(FOLDER, 'RESULTS.md')
type Measurement = (bench: Bench) => Promise<Measured>
const FULL: Record<string, Measurement> = {
  storm,
  start,
  reads,
  work,
  latency,
  replicas,
  costs,
  traces,
  cache,
}
/** What each is for. */
const PURPOSES: Record<string, string> = {
  storm:
    'A probe comes every second from each orchestrator and balancer, and most often on the worst day. It must cost hardly more than a constant answer, and the backends nothing.',
  start: 'A replica that an autoscaler asks for, or a rollout, is of use once it is ready.',
  reads:
    'Most requests read a row by its key, many of them a row of a tenant. The library and the pool must cost little beside it.',
  work: 'What requests do otherwise: a body to validate and insert, a list to serialize, a transaction.',
  latency:
    'Between a service and its database there is a network, and often a pooler. There the trips to the database decide.',
  replicas: 'A whole deployment starts at once after an outage, and shares the migration lock.',
  costs: 'What is on by default, and what can be switched on, on a request that does nothing else.',
  traces: 'Who switches traces on pays for them; who does not, nothing; and a collector that is away costs no request.',
  cache: 'A cache has to be cheaper than what it spares.',
}
const MEASUREMENTS: Record<string, Measurement> = { ...FULL, profile }

const args = process.argv.slice(2)
const quick = args.includes('--quick')
const chosen = args.filter((arg) => arg !== '--quick')
const unknown = chosen.find((name) => !(name in MEASUREMENTS))
if (unknown) {
  process.stderr.write(`${unknown} is none of ${Object.keys(MEASUREMENTS).join(', ')}\n`)
  process.exit(1)
}

// What runs ends with this process: the programs by its exit, the servers by their supervisors.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1))

install()
build()
const markdown = await run()
process.stdout.write(markdown)
if (!quick && chosen.length === 0) writeFileSync(RESULTS, markdown)

async function run(): Promise<string> {
  await using servers = await Servers.start()
  using load = new Load()
  const began = performance.now()
  const measured: Measured[] = []
  for (const name of chosen.length > 0 ? chosen : Object.keys(FULL)) {
    process.stderr.write(`${name} `)
    measured.push(await (MEASUREMENTS[name] as Measurement)({ servers, load, quick }))
  }
  const minutes = ((performance.now() - began) / 60_000).toFixed(1)
  const versions = await servers.versions()
  return [
    '# Results of `npm run bench`\n',
    `${os.cpus()[0]?.model}, ${os.availableParallelism()} cores, ${Math.round(os.totalmem() / 2 ** 30)} GB of memory, ` +
      `${os.type()} ${os.release()} ${os.arch()}. Node ${process.versions.node}, PostgreSQL ${versions.postgres}, ` +
      `Redis ${versions.redis}, ${list(manifest.dependencies)}, ${list(dependencies.dependencies)}.\n`,
    `Medians (least–most) of interleaved rounds, in ${minutes} minutes${quick ? ', `--quick`: no result' : ''}. ` +
      '**bare**: Fastify with a constant answer, no backend, no log. **naive**: the same libraries as their READMEs show ' +
      'them. Everything runs on this machine at the same time: compare rows, not runs.\n',
    ...Object.keys(FULL).map((name) => `- **${name}**: ${PURPOSES[name]}`),
    '\n## Targets\n',
    'Ratios are the median of the ratios of each round; counts are the worst of all rounds.\n',
    targetsMarkdown(measured.flatMap(({ targets }) => targets)),
    ...measured.map(({ table }) => table.markdown()),
  ].join('\n')
}

function list(versions: Record<string, string>): string {
  return Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')
}

/** The bench's own dependencies, when they are missing or not those of its lock file. */
function install(): void {
  const [wanted, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map((file) =>
    path.join(FOLDER, file),
  ) as [string, string]
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return
  // Not its output, which would stand before the table.
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: FOLDER, stdio: ['ignore', 2, 2] })
}

/** What `npm start` runs is built first, where there is something to build. */
function build(): void {
  const { scripts } = JSON.parse(readFileSync(path.join(FOLDER, '../package.json'), 'utf8'))
  if ('build' in scripts)
    execFileSync('npm', ['run', 'build'], { cwd: path.join(FOLDER, '..'), stdio: ['ignore', 2, 2] })
}
