import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Changes } from './changes.ts'

const WATCHED = ['src', 'test', 'migrations', 'seeds']

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
  const changes = await Changes.of(WATCHED.map((folder) => join(root, folder)))
  const aborted = once(signal, 'abort')
  while (!signal.aborted) {
    const changed = changes.next()
    child = spawn(program, args, { cwd: root, stdio: 'inherit' })
    child.on('exit', () => signal.aborted || process.stdout.write('\nwaiting for a change; Ctrl-C ends it\n'))
    await Promise.race([changed, aborted])
    await stop()
  }
  await changes.close()
}
