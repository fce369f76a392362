import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

export interface Job {
  url: string
  /** JSON, which is posted. */
  body?: string | undefined
  connections: number
  seconds: number
}

export interface Answers {
  perSecond: number
  /** Milliseconds. */
  p50: number
  p99: number
  requests: number
  /** Answers of another status, none in time, and connections that broke. */
  non200: number
}

/** load.mjs, running. */
export class Load {
  readonly #child: ChildProcess = fork(path.join(import.meta.dirname, 'load.mjs'), { execArgv: [] })

  /** Throws when the generator ends, as it does without its dependencies. */
  async run(job: Job): Promise<Answers> {
    const over = new AbortController()
    const { signal } = over
    this.#child.send(job)
    try {
      return await Promise.race([
        once(this.#child, 'message', { signal }).then(([answers]) => answers as Answers),
        once(this.#child, 'exit', { signal }).then(() => {
          throw new Error('the load generator ended')
        }),
      ])
    } finally {
      over.abort()
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill()
  }
}
