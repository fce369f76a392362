import { chmodSync, chownSync, copyFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import t from 'tap'
import { startPostgres } from '../../../dev/postgres.ts'
import { connectionOptions } from '../../../src/database/connection.ts'
import { configure } from '../../support/app.ts'
import { query, ROOT, until } from '../../support/helper.ts'

t.test('a server that was found by settings with TLS gets TLS, although they are rotated to clear ones', async (t) => {
  const postgres = await startPostgres()
  t.teardown(() => postgres.close())
  const [row] = await query<{ data_directory: string }>(postgres.url, 'show data_directory')
  const directory = row?.data_directory as string
  const { uid, gid } = statSync(directory)
  for (const name of ['self-signed.crt', 'self-signed.key']) {
    const file = path.join(directory, name.replace('self-signed', 'server'))
    copyFileSync(path.join(ROOT, 'test/fixtures', name), file)
    chmodSync(file, 0o600)
    chownSync(file, uid, gid)
  }
  await query(postgres.url, 'alter system set ssl = on')
  await query(postgres.url, 'select pg_reload_conf()')
  await until(
    () => query<{ ssl: string }>(postgres.url, 'show ssl'),
    ([row]) => row?.ssl === 'on',
  )

  const clear = postgres.url.replace(/(@127\.0\.0\.1:\d+)/, '$1,127.0.0.1:1')
  const file = path.join(t.testdir(), 'url')
  const certificate = path.join(ROOT, 'test/fixtures/self-signed.crt')
  writeFileSync(file, `${clear}?sslmode=verify-ca&sslrootcert=${certificate}`)
  const { Client = pg.Client, ...options } = connectionOptions(await configure(t, { DATABASE_URL_FILE: file }))
  const ssl = async () => {
    const client = new Client(options)
    await client.connect()
    const { rows } = await client.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
    await client.end()
    return rows[0].ssl
  }
  const first = ssl() // it searches
  writeFileSync(file, clear)
  t.same(await Promise.all([first, ssl()]), [true, true])
  t.equal(await ssl(), false, 'what the new settings find is clear')
})
