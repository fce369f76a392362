import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** A keep-alive client that asks again as soon as it is answered, and counts what it loses. */
export class Client {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #url: string
  readonly #pauseMs: number
  #stopped = false
  answered = 0
  lost: string[] = []

  /** `pauseMs`: between an answer and the next request. */
  constructor(url: string, pauseMs = 0) {
    this.#url = url
    this.#pauseMs = pauseMs
  }

  /** Until `stop()`, or until the port is closed. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const status = await this.#ask()
        if (this.#pauseMs > 0) await sleep(this.#pauseMs)
        if (status === 200) this.answered++
        else this.lost.push(String(status))
      } catch (err) {
        const { code } = err as NodeJS.ErrnoException
        if (code === 'ECONNREFUSED') break
        this.lost.push(String(code))
      }
    }
    this.#agent.destroy()
  }

  stop(): void {
    this.#stopped = true
  }

  #ask(): Promise<number | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
    request(this.#url, { agent: this.#agent }, (response) => {
      response
        .resume()
        .on('end', () => resolve(response.statusCode))
        .on('error', reject)
    })
      .on('error', reject)
      .end()
    return promise
  }
}
