import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

export interface Job {
  url: string
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
    const ended = once(this.#child, 'exit').then(() => {
      throw new Error('the load generator ended')
    })
    ended.catch(() => {})
    this.#child.send(job)
    const [answers] = (await Promise.race([once(this.#child, 'message'), ended])) as [Answers]
    return answers
  }

  [Symbol.dispose](): void {
    this.#child.kill()
  }
}
