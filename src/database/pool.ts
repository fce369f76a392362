import pg from 'pg'
import { reasonOf } from '../core/reasons.ts'

type Connected = (err: Error | undefined, client: pg.PoolClient | undefined, done: (release?: unknown) => void) => void

/** pg's pool, which counts the callers that got no connection in time: pg-pool tells nobody but the caller. */
export class CountingPool extends pg.Pool {
  timeouts = 0

  override connect(): Promise<pg.PoolClient>
  override connect(callback: Connected): void
  /** Kysely takes the promise, and `query()` of the pool itself the callback. */
  override connect(callback?: Connected): Promise<pg.PoolClient> | undefined {
    if (callback) {
      super.connect((err, ...rest) => {
        this.#look(err)
        callback(err, ...rest)
      })
      return undefined
    }
    const answer = super.connect()
    answer.catch((err) => this.#look(err))
    return answer
  }

  #look(err: unknown): void {
    if (err && reasonOf(err) === 'timeout') this.timeouts++
  }
}
