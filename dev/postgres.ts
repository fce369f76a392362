import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { type ManagedFolder, openFolder } from './managed-folder.ts'
import { type PostgresVersion, postgresBinaries, unprivileged } from './postgres-binaries.ts'
import { processesOf } from './processes.ts'
import { type Server, startServer } from './server.ts'

export interface PostgresOptions {
  /** 16 by default. */
  version?: PostgresVersion
  /** Where the data stays; without it the data is temporary, and written without care for crashes of the machine. */
  directory?: string
  /** The folder of a server of the same version that is stopped, whose data is copied; else it starts empty. */
  copyOf?: string
  /** Server settings by name, such as `max_connections`. */
  settings?: Record<string, string>
  /** Called with the exit code or signal when the server ends without having been asked to. */
  onExit?: (reason: string) => void
}

/** Names a folder made by `createTemplate()`, which temporary servers of this process and its children copy. */
export const TEMPLATE_VARIABLE = 'TEST_POSTGRES_TEMPLATE'

const THROW_AWAY = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  autovacuum: 'off',
}

/**
 * Starts a PostgreSQL of its own; `url` is the superuser's. It ends with this process at the latest.
 * Throws with the end of the server's log when it does not start, FolderInUseError when `directory` has one running.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<Server> {
  const { version = 16, directory, settings } = options
  const binaries = postgresBinaries(version)
  const home = await openFolder(`postgres-${version}-`, directory)
  const data = join(home.folder, 'data')
  await home.owned(async () => {
    await createData(home, version, options.copyOf)
    removeStalePidFile(data)
  })
  const allSettings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    shared_buffers: '16MB',
    // Shared memory that a killed server leaves in /dev/shm would stay there.
    dynamic_shared_memory_type: 'mmap',
    ...(directory === undefined && THROW_AWAY),
    ...settings,
    cluster_name: home.mark,
  }
  const flags = Object.entries(allSettings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const password = readFileSync(join(home.folder, 'password'), 'utf8').trim()
  return startServer(home, {
    command: (port) => ({
      argv: [...unprivileged(data), join(binaries, 'postgres'), '-D', data, '-p', String(port), ...flags],
      // What a temporary server holds is thrown away: it need not be written out first.
      stopSignal: directory === undefined ? 'SIGQUIT' : 'SIGINT',
    }),
    url: (port) => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    probe,
    stopSignal: 'SIGINT',
    immediateSignal: 'SIGQUIT',
    onExit: options.onExit,
  })
}

/** Runs initdb once for all temporary servers to come; set `TEMPLATE_VARIABLE` to the folder, close it at the end. */
export async function createTemplate(version: PostgresVersion): Promise<ManagedFolder> {
  const home = await openFolder(`postgres-template-${version}-`)
  await home.owned(() => createData(home, version))
  // template0, a quarter of each copy, of which nobody makes a database.
  rmSync(join(home.folder, 'data/base/4'), { recursive: true })
  return home
}

async function createData(
  home: ManagedFolder,
  version: PostgresVersion,
  template = process.env[TEMPLATE_VARIABLE],
): Promise<void> {
  const data = join(home.folder, 'data')
  const password = join(home.folder, 'password')
  if (existsSync(data)) return
  // Made under another name, so that an interrupted run leaves no half of it under this one.
  const unfinished = join(home.folder, `${home.mark}.unfinished`)
  rmSync(unfinished, { recursive: true, force: true })
  const user = unprivileged(data)
  if (template && readFileSync(join(template, 'data', 'PG_VERSION'), 'utf8').trim() === String(version)) {
    writeFileSync(password, readFileSync(join(template, 'password')), { mode: 0o600 })
    await home.run({ argv: [...user, 'cp', '-R', join(template, 'data'), unfinished], stopSignal: 'SIGKILL' })
  } else {
    writeFileSync(password, randomBytes(16).toString('hex'), { mode: 0o600 })
    const initdb = join(postgresBinaries(version), 'initdb')
    const access = ['-U', 'postgres', '--auth=scram-sha-256', `--pwfile=${password}`]
    const argv = [...user, initdb, '-D', unfinished, ...access, '--encoding=UTF8', ...locale(version)]
    const cheap = ['--wal-segsize=1', '--no-sync', '--no-instructions']
    // initdb writes the time zone into the configuration, after a search for the system's.
    await home.run({ argv: [...argv, ...cheap], env: { TZ: 'UTC' }, stopSignal: 'SIGTERM' })
  }
  renameSync(unfinished, data)
}

/** UTF-8 order and classes that are the same on every system, where the version or the system has them. */
function locale(version: PostgresVersion): string[] {
  if (version >= 17) return ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  return [process.platform === 'linux' ? '--locale=C.UTF-8' : '--locale=C']
}

/** After a crash an unrelated process can have the id in postmaster.pid, and PostgreSQL would refuse to start. */
function removeStalePidFile(data: string): void {
  const file = join(data, 'postmaster.pid')
  if (!existsSync(file)) return
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10)
  if (!processesOf(data).includes(pid)) rmSync(file)
}

async function probe(connectionString: string): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})
  try {
    await client.connect()
  } finally {
    await client.end()
  }
}
