import { basename } from 'node:path'
import { type FSWatcher, watch } from 'chokidar'

/** An editor or a checkout writes several files at a time. In milliseconds. */
const SETTLE_MS = 200
/** What editors write beside a file: swap and lock files, backups, half-written ones. */
const TEMPORARY = /^[.#]|[~#]$|^4913$|\.tmp$|___jb_(tmp|old)___$/

/** Tells of changes of files, and of files below folders, also of those that are not there yet. */
export class Changes {
  readonly #watcher: FSWatcher
  #next = Promise.withResolvers<void>()
  #settling: NodeJS.Timeout | undefined

  /** Every change from here on is told. */
  static async of(paths: string[]): Promise<Changes> {
    const changes = new Changes(paths)
    await new Promise<void>((resolve) => changes.#watcher.once('ready', resolve))
    return changes
  }

  private constructor(paths: string[]) {
    this.#watcher = watch(paths, { ignoreInitial: true, ignored: (path) => TEMPORARY.test(basename(path)) })
      .on('all', () => this.#settle())
      .on('error', (error) => process.stderr.write(`not every change is seen: ${(error as Error).message}\n`))
  }

  #settle(): void {
    clearTimeout(this.#settling)
    this.#settling = setTimeout(() => {
      this.#next.resolve()
      this.#next = Promise.withResolvers()
    }, SETTLE_MS)
  }

  /** Resolves after the next change, once nothing more has changed for a moment. */
  next(): Promise<void> {
    return this.#next.promise
  }

  async close(): Promise<void> {
    clearTimeout(this.#settling)
    await this.#watcher.close()
  }
}
