import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'

/**
 * Ids of all processes whose command line, its words separated by spaces, contains one of the marks, except this one.
 *
 * PostgreSQL writes its `cluster_name` into the title of every process, so a server's processes are found by
 * that name also when the first of them is dead and the others have no parent to be found by.
 */
export function processesOf(...marks: string[]): number[] {
  return commandLines()
    .filter(({ pid, command }) => pid !== process.pid && marks.some((mark) => command.includes(mark)))
    .map(({ pid }) => pid)
}

/**
 * What stands in the command line of the processes that run in a folder: a name of its path, and one of the folder itself.
 * The first stays when the folder is removed and made again, the second when it is moved, and a copy has neither.
 */
export function marksOf(folder: string): string[] {
  const { dev, ino, birthtimeNs } = statSync(folder, { bigint: true })
  const names = [realpathSync(folder), `${dev} ${ino} ${birthtimeNs}`]
  return names.map((name) => createHash('sha256').update(name).digest('hex').slice(0, 16))
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
  return pids.map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }))
}

/** The file's text; empty when its process has ended since the folder was listed. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
