import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { backends, ENV, unmeasured, until, within } from '../support/helper.ts'

/** `npm run dev` of a copy of the project, without npm. Stopped at the end of the test. */
export class Dev {
  output = ''
  readonly #child: ChildProcess
  readonly #exited: Promise<number | null>

  /** With servers of its own, unless `variables` name others. */
  constructor(t: Test, cwd: string, variables: NodeJS.ProcessEnv = {}, args: string[] = [], nodeOptions = '') {
    const [program, ...hooks] = unmeasured(nodeOptions)
    const { TEST_POSTGRES_TEMPLATE } = process.env
    this.#child = spawn(program as string, [...hooks, process.execPath, 'dev/main.ts', ...args], {
      cwd,
      env: { PATH: process.env['PATH'], ...ENV, REDIS_URL: backends.redis, TEST_POSTGRES_TEMPLATE, ...variables },
      stdio: 'pipe',
    })
    this.#exited = once(this.#child, 'close').then(([code]) => code)
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => (this.output += text))
    }
    t.teardown(async () => {
      await this.stop()
      await rm(path.join(cwd, '.local'), { recursive: true, force: true })
    })
  }

  /** The output once it has that text `times` times. */
  said(text: string, times = 1): Promise<string> {
    return until(
      () => this.output,
      (output) => output.split(text).length > times,
    )
  }

  /** What the service that was started last answers. */
  async get(url: string): Promise<Response> {
    const port = [...this.output.matchAll(/Server listening at .*:(\d+)/g)].at(-1)?.[1]
    return fetch(`http://127.0.0.1:${port}${url}`)
  }

  /** As Ctrl-C does. Its exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGINT')
    return within(this.#exited, () => this.output)
  }
}
