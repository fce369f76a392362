import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { watch as changes } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const WATCHED = ['src', 'test', 'migrations', 'seeds']
/** An editor or a checkout writes several files at a time. */
const SETTLE_MS = 200

/** Runs the command, and again whenever a file changes, which ends a run that is under way. Until the signal aborts. */
export async function watch(root: string, argv: string[], signal: AbortSignal): Promise<void> {
  const [program = '', ...args] = argv
  let child: ChildProcess | undefined
  const stop = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
  }
  let changed = Promise.withResolvers<void>()
  const folders = WATCHED.filter((folder) => existsSync(join(root, folder)))
  const watching = folders.map(async (folder) => {
    for await (const _ of changes(join(root, folder), { recursive: true, signal })) changed.resolve()
  })
  const aborted = Promise.all(watching).catch((error) => {
    if (!signal.aborted) throw error
  })
  while (!signal.aborted) {
    changed = Promise.withResolvers()
    child = spawn(program, args, { cwd: root, stdio: 'inherit' })
    child.on('exit', () => signal.aborted || process.stdout.write('\nwaiting for a change; Ctrl-C ends it\n'))
    await Promise.race([changed.promise, aborted])
    await sleep(SETTLE_MS)
    await stop()
  }
}
