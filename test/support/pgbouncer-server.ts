import { execFileSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { openFolder } from '../../dev/managed-folder.ts'
import { unprivileged } from '../../dev/postgres-binaries.ts'
import { type Server, startServer } from '../../dev/server.ts'
import type { Ends } from './tcp-proxy.ts'

/** Whether it is on the PATH. */
export function hasPgbouncer(): boolean {
  try {
    execFileSync('pgbouncer', ['--version'])
    return true
  } catch {
    return false
  }
}

/**
 * Starts PgBouncer in transaction mode, with two connections to the server that `target` leads to. `settings`: lines of
 * its own by name.
 */
export async function startPgbouncer(t: Ends, target: string, settings: Record<string, string> = {}): Promise<Server> {
  const { hostname, port, username, password } = new URL(target)
  const home = await openFolder('pgbouncer-')
  const file = path.join(home.folder, 'pgbouncer.ini')
  const users = path.join(home.folder, 'users.txt')
  writeFileSync(users, `"${username}" "${decodeURIComponent(password)}"\n`)
  const pgbouncer = await startServer(home, {
    command: (own) => {
      writeFileSync(
        file,
        `[databases]
* = host=${hostname} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
default_pool_size = 2
${Object.entries(settings)
  .map(([name, value]) => `${name} = ${value}\n`)
  .join('')}`,
      )
      for (const readable of [file, users]) chmodSync(readable, 0o644)
      return { argv: [...unprivileged(path.join(home.folder, 'data')), 'pgbouncer', file], stopSignal: 'SIGKILL' }
    },
    url: (own) => Object.assign(new URL(target), { port: String(own) }).href,
    probe: async (url) => {
      const client = new pg.Client(url)
      client.on('error', () => {})
      await client.connect()
      await client.end()
    },
    stopSignal: 'SIGINT',
    immediateSignal: 'SIGKILL',
  })
  t.teardown(() => pgbouncer.close())
  return pgbouncer
}
