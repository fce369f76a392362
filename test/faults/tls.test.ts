import { chmodSync, chownSync, copyFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { query, ROOT, until } from '../support/helper.ts'
import { Service } from '../support/process.ts'

const certificate = path.join(ROOT, 'test/fixtures/self-signed.crt')

/** PostgreSQL with a certificate that no authority has signed. */
async function server(t: Test) {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const [row] = await query<{ data_directory: string }>(postgres.url, 'show data_directory')
  const directory = row?.data_directory as string
  const { uid, gid } = statSync(directory)
  for (const [from, to] of [
    ['self-signed.crt', 'server.crt'],
    ['self-signed.key', 'server.key'],
  ] as const) {
    const file = path.join(directory, to)
    copyFileSync(path.join(ROOT, 'test/fixtures', from), file)
    chmodSync(file, 0o600)
    chownSync(file, uid, gid) // PostgreSQL takes no key that another can read
  }
  return postgres
}

t.test('a certificate that does not verify: exit 1 at once, reason named', async (t) => {
  const postgres = await server(t)
  await query(postgres.url, 'alter system set ssl = on')
  await query(postgres.url, 'select pg_reload_conf()')
  await until(
    () => query<{ ssl: string }>(postgres.url, 'show ssl'),
    ([row]) => row?.ssl === 'on',
  )
  const refused = new Service(t, { DATABASE_URL: `${postgres.url}?sslmode=verify-full` })
  t.equal(await refused.exited, 1)
  t.match(refused.fatal, { level: 60, err: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' } })

  const trusted = new Service(t, {
    DATABASE_URL: `${postgres.url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(certificate)}`,
  })
  await trusted.logged('ready')
  t.notMatch(refused.output + trusted.output, decodeURIComponent(new URL(postgres.url).password))
})

t.test('a server without TLS where TLS is wanted: exit 1', async (t) => {
  const postgres = await server(t)
  const service = new Service(t, { DATABASE_URL: `${postgres.url}?sslmode=verify-full` })
  t.equal(await service.exited, 1)
  t.match(service.fatal, { level: 60, err: { message: /does not support SSL/ } })
})
