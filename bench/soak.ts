/**
 * `npm run soak -- MINUTES` (15): the service under load while its backends break in every way, one fault at a time.
 * Prints the slowest probe and the time to recover of each fault, and the memory at the start and at the end.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../dev/ports.ts'
import { startPostgres } from '../dev/postgres.ts'
import { startRedis } from '../dev/redis.ts'
import { Client } from '../test/support/client.ts'
import { OUTAGES } from './outages.ts'

const minutes = Number(process.argv[2] ?? 15)
const FAULT_MS = 3_000
const REST_MS = 4_000
const LOAD_CLIENTS = 4

const postgres = await startPostgres()
const redis = await startRedis()
const port = await freePort()
const service = spawn(process.execPath, ['src/server.ts'], {
  env: {
    ...process.env,
    PORT: String(port),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    HEALTH_DETAILS: 'true',
    LOG_LEVEL: 'error',
  },
  stdio: ['ignore', 'inherit', 'inherit'],
})
const died = once(service, 'exit').then(([code]) => {
  if (!ending) throw new Error(`the service ended with ${code}`)
})
let ending = false

const url = `http://127.0.0.1:${port}`

interface Row {
  slowestMs: number
  seenMs: number
  recoveredMs: number
  times: number
}

async function probe(route: string): Promise<{ status: number; ms: number }> {
  const started = performance.now()
  const { status } = await fetch(url + route, { headers: { connection: 'close' } })
  return { status, ms: performance.now() - started }
}

/** Probes every 100 ms for a while; when the wanted status was first seen, and the slowest answer, in milliseconds. */
async function watch(route: string, wanted: number, forMs: number): Promise<{ seenMs: number; slowestMs: number }> {
  const started = performance.now()
  let seenMs = Number.NaN
  let slowestMs = 0
  while (performance.now() - started < forMs) {
    const { status, ms } = await probe(route)
    slowestMs = Math.max(slowestMs, ms)
    if (status === wanted && Number.isNaN(seenMs)) seenMs = performance.now() - started
    await sleep(100)
  }
  return { seenMs, slowestMs }
}

function memoryMb(): number {
  const [, kb] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8')) ?? []
  return Number(kb) / 1024
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function soak(): Promise<void> {
  while (
    !(await probe('/health').then(
      ({ status }) => status === 200,
      () => false,
    ))
  )
    await sleep(50)
  const clients = ['/health', '/health/ready', '/health/db', '/health/live']
    .slice(0, LOAD_CLIENTS)
    .map((route) => new Client(url + route, 5))
  for (const client of clients) void client.run()

  const rows = Object.fromEntries(
    Object.keys(OUTAGES).map((name): [string, Row] => [name, { slowestMs: 0, seenMs: 0, recoveredMs: 0, times: 0 }]),
  )
  const memory: number[] = []
  for (const until = performance.now() + minutes * 60_000; performance.now() < until; ) {
    for (const [name, { route, make, mend }] of Object.entries(OUTAGES)) {
      const row = rows[name] as Row
      const [, broken] = await Promise.all([make(postgres, redis), watch(route, 503, FAULT_MS)])
      await mend(postgres, redis)
      const mended = await watch(route, 200, REST_MS)
      row.times++
      row.slowestMs = Math.max(row.slowestMs, broken.slowestMs, mended.slowestMs)
      row.seenMs = Math.max(row.seenMs, broken.seenMs || 0)
      row.recoveredMs = Math.max(row.recoveredMs, mended.seenMs)
      memory.push(memoryMb())
    }
  }
  for (const client of clients) client.stop()

  console.table(
    Object.fromEntries(
      Object.entries(rows).map(([name, { times, ...worst }]) => [
        name,
        { times, ...Object.fromEntries(Object.entries(worst).map(([key, ms]) => [key, Math.round(ms)])) },
      ]),
    ),
  )
  const quarter = Math.ceil(memory.length / 4)
  console.log(
    `memory, median of the second quarter: ${median(memory.slice(quarter, 2 * quarter)).toFixed(1)} MB, ` +
      `of the last: ${median(memory.slice(-quarter)).toFixed(1)} MB; ` +
      `${clients.reduce((sum, { answered, lost }) => sum + answered + lost.length, 0)} requests`,
  )
}

try {
  await Promise.race([soak(), died])
} finally {
  ending = true
  service.kill('SIGTERM')
  await Promise.all([postgres.close(), redis.close()])
}
