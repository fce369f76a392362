import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { type Bench, COLUMNS, CONNECTIONS, type Measured, sample } from './bench.ts'
import { makeNotes } from './fixtures.ts'
import { interleave, Table } from './report.ts'
import { BARE, peer, ROUTES, Run, type Subject } from './subjects.ts'

const BARE_OTEL = peer('bare with @fastify/otel', 'bare-otel.mjs')

/** What traces cost a request that does nothing, and one that reads a row. */
export async function traces({ servers, load, quick }: Bench): Promise<Measured> {
  const seconds = quick ? 1 : 3
  const table = new Table(
    'Cost of traces',
    [...COLUMNS, { key: 'memory', head: 'memory after MB' }],
    `${CONNECTIONS} connections, ${seconds} s a round, no log. The collector answers at once; the black hole never does.`,
  )
  const databaseUrl = await servers.migratedDatabase(makeNotes)
  const collector = createServer((request, response) => void request.resume().on('end', () => response.end()))
  const hole = createTcpServer()
  const [endpoint, nowhere] = await Promise.all(
    [collector, hole].map(async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    }),
  )
  const on = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }
  const ways: [string, NodeJS.ProcessEnv][] = [
    ['off', {}],
    ['1 %', { ...on, OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.01' }],
    ['100 %', on],
    ['100 %, black hole', { OTEL_EXPORTER_OTLP_ENDPOINT: nowhere }],
  ]
  const routes = { 'a constant': '/constant', 'a row by Kysely': '/kysely' }
  const jobs: [string, Subject, string, NodeJS.ProcessEnv][] = [
    ...Object.entries(routes).flatMap(([what, route]) =>
      ways.map(([way, env]): [string, Subject, string, NodeJS.ProcessEnv] => [`${what}, ${way}`, ROUTES, route, env]),
    ),
    [BARE.name, BARE, BARE.ready, {}],
    [`${BARE_OTEL.name}, 100 %`, BARE_OTEL, BARE_OTEL.ready, on],
  ]
  try {
    await interleave(
      quick ? 1 : 4,
      jobs.map(
        ([name, subject, route, env]) =>
          () =>
            table.measure(name, async () => {
              const options = { databaseUrl, redisUrl: servers.redisUrl, env: { LOG_LEVEL: 'silent', ...env } }
              const run = await Run.start(subject, options)
              try {
                return { ...(await sample(run, load, { url: run.url(route), seconds })), memory: run.memory() }
              } finally {
                await run.stop()
              }
            }),
      ),
    )
  } finally {
    collector.close()
    hole.close()
  }
  return { table, targets: [] }
}
