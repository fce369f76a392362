import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { openFolder } from './managed-folder.ts'
import { redisBinary } from './redis-binary.ts'
import { type Server, startServer } from './server.ts'

export interface RedisOptions {
  /** Where the data stays; without it nothing is written. */
  directory?: string
  /** Random by default; an empty one lets everybody in. */
  password?: string
  /** Added to the command line. */
  flags?: string[]
  /** Lines of redis.conf by name, such as `maxmemory`. */
  settings?: Record<string, string>
  /** Called with the exit code or signal when the server ends without having been asked to. */
  onExit?: (reason: string) => void
}

/**
 * Starts a Redis of its own. It ends with this process at the latest. Throws with the command that installs Redis
 * where none can be had, with the end of the server's log when it does not start, FolderInUseError when `directory`
 * has one running.
 */
export async function startRedis(options: RedisOptions = {}): Promise<Server> {
  const { directory, password = randomBytes(16).toString('hex') } = options
  const { command, env } = await redisBinary()
  const home = await openFolder('redis-', directory)
  // A file, because everybody on the machine can read a command line.
  const file = join(home.folder, 'redis.conf')
  const settings = {
    bind: '127.0.0.1',
    dir: home.folder,
    save: '',
    appendonly: directory === undefined ? 'no' : 'yes',
    ...(password && { requirepass: password }),
    ...options.settings,
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${JSON.stringify(value)}\n`)
  await home.owned(() => writeFileSync(file, lines.join(''), { mode: 0o600 }))
  return startServer(home, {
    command: (port) => ({
      argv: [command, file, ...(options.flags ?? []), '--port', String(port)],
      // All that Redis keeps of its command line, which it overwrites with its address.
      argv0: `${command} ${home.mark}`,
      env,
      // What a temporary server holds is thrown away with it.
      stopSignal: directory === undefined ? 'SIGKILL' : 'SIGTERM',
    }),
    url: (port) => `redis://${password && `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    probe,
    stopSignal: 'SIGTERM',
    immediateSignal: 'SIGKILL',
    onExit: options.onExit,
  })
}

async function probe(url: string): Promise<void> {
  const client = new Redis(url, { enableReadyCheck: false, retryStrategy: null, connectTimeout: 5000 })
  client.on('error', () => {})
  try {
    await client.ping()
  } finally {
    client.disconnect()
  }
}
