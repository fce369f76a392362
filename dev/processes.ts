import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'

/**
 * Ids of all processes whose command line contains `mark`, except this one.
 *
 * PostgreSQL writes its `cluster_name` into the title of every process, so a server's processes are found by
 * that name also when the first of them is dead and the others have no parent to be found by.
 */
export function processesOf(mark: string): number[] {
  return commandLines()
    .filter(({ pid, command }) => pid !== process.pid && command.includes(mark))
    .map(({ pid }) => pid)
}

/** Sends `signal` to each process; one that has ended meanwhile is no error. */
export function signalAll(pids: number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

function commandLines(): { pid: number; command: string }[] {
  // Slim images have no ps, macOS has no /proc.
  if (!existsSync('/proc/self/cmdline')) {
    const lines = execFileSync('ps', ['-A', '-ww', '-o', 'pid=,command='], { encoding: 'utf8' }).split('\n')
    return lines.map((line) => ({ pid: Number.parseInt(line, 10), command: line }))
  }
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`) }))
}

/** The file's text; empty when its process has ended since the folder was listed. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
