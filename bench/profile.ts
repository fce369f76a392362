import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Bench, CONNECTIONS, type Measured } from './bench.ts'
import { makeNotes } from './fixtures.ts'
import { reads } from './reads/read.ts'
import { Table } from './report.ts'
import { BARE, NAIVE, ROUTES, Run, type Subject, THIS } from './subjects.ts'

/** What takes less than this part of the time is left out. */
const LEAST = 0.02

interface Profile {
  startTime: number
  nodes: { id: number; callFrame: { functionName: string; url: string } }[]
  samples: number[]
  timeDeltas: number[]
}

/** Where the time goes, by package: what a target that is not met is up against. Not part of a full run. */
export async function profile({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 2 : 10
  const table = new Table(
    'Profile',
    [
      { key: 'start', head: 'start ms', digits: 1 },
      { key: 'storm', head: 'storm µs a request', digits: 2 },
    ],
    'Processor time of the main thread by V8 (`node --cpu-prof`), by package; `node` is what it does in JavaScript. ' +
      'Compiling is counted where it is asked for. A profiled process is slower than another.',
  )
  const databaseUrl = await servers.migratedDatabase(makeNotes)
  const profiles: [string, Subject, string][] = [
    ['this service', THIS, THIS.ready],
    ['bare', BARE, BARE.ready],
    ['naive', NAIVE, NAIVE.ready],
    ...reads
      .filter(({ atLeast }) => atLeast)
      .map(({ name, route }): [string, Subject, string] => [`read by ${name}`, ROUTES, route]),
  ]
  for (const [name, subject, route] of profiles) {
    const folder = mkdtempSync(path.join(tmpdir(), 'profile-'))
    try {
      const env = {
        NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}`,
        ...(subject === ROUTES && { LOG_LEVEL: 'silent' }),
      }
      const run = await Run.start(subject, { databaseUrl, redisUrl: servers.redisUrl, env })
      const { requests } = await load.run({ url: run.url(route), connections: CONNECTIONS, seconds })
      await run.stop()
      const [file] = readdirSync(folder)
      if (!file) throw new Error(`${name} left no profile`)
      const times = byPackage(JSON.parse(readFileSync(path.join(folder, file), 'utf8')), run.readyMs * 1_000)
      const total = (key: 'start' | 'storm') => times.reduce((sum, [, time]) => sum + time[key], 0)
      for (const [part, { start, storm }] of times) {
        if (start < LEAST * total('start') && storm < LEAST * total('storm')) continue
        await table.measure(`${name}: ${part}`, async () => ({ start: start / 1_000, storm: storm / requests }))
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  process.stderr.write('\n')
  return { table, targets: [] }
}

/** Microseconds before and after the process was ready. */
function byPackage({ nodes, samples, timeDeltas }: Profile, readyAfter: number) {
  const parts = new Map(nodes.map(({ id, callFrame }) => [id, partOf(callFrame)]))
  const times = new Map<string, { start: number; storm: number }>()
  let at = 0
  for (const [n, id] of samples.entries()) {
    const time = timeDeltas[n] as number
    at += time
    const part = parts.get(id) as string
    if (part === '(idle)') continue
    const sum = times.get(part) ?? { start: 0, storm: 0 }
    sum[at < readyAfter ? 'start' : 'storm'] += time
    times.set(part, sum)
  }
  return [...times].sort(([, a], [, b]) => b.storm - a.storm)
}

function partOf({ functionName, url }: Profile['nodes'][number]['callFrame']): string {
  const inside = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]
  if (inside) return inside
  if (url.startsWith('node:')) return 'node'
  // No file: the garbage collector, the program itself, and functions written in C++, such as those that write.
  if (url === '') return functionName || '(compiled at run time)'
  return url.startsWith('wasm:')
    ? 'WebAssembly'
    : path.relative(path.join(import.meta.dirname, '..'), URL.parse(url)?.pathname ?? url)
}
