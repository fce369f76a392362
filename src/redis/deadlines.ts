import type { Socket } from 'node:net'
import { Command, Redis } from 'ioredis'
import { deadline } from '../core/deadline.ts'

/*
 * The timers of ioredis decide before an answer is read that has arrived in a pause of the process. Both methods do what
 * ioredis' own do, but for the timer. They can go when ioredis reads first, or takes timers of ours.
 */

interface TimedCommand {
  isSettled: boolean
  _commandTimeoutTimer?: NodeJS.Timeout
  reject(err: Error): void
}

Command.prototype.setTimeout = function (this: TimedCommand, ms: number) {
  this._commandTimeoutTimer ??= deadline(ms, () => {
    if (!this.isSettled) this.reject(new Error('Command timed out'))
  })
} as typeof Command.prototype.setTimeout

interface TimedConnection {
  options: { socketTimeout: number }
  stream: Socket
  commandQueue: { length: number }
  socketTimeoutTimer: NodeJS.Timeout | undefined
  setSocketTimeout(): void
}

Object.assign(Redis.prototype, {
  setSocketTimeout(this: TimedConnection) {
    const { stream, options } = this
    let silent: Socket | undefined = stream
    this.socketTimeoutTimer = deadline(options.socketTimeout, () => {
      this.socketTimeoutTimer = undefined
      silent?.destroy(new Error(`Socket timeout: no data within ${options.socketTimeout} ms`))
    })
    // Behind ioredis' own listener, which takes the answered commands out of the queue.
    stream.once('data', () => {
      silent = undefined
      clearTimeout(this.socketTimeoutTimer)
      this.socketTimeoutTimer = undefined
      if (this.commandQueue.length > 0) this.setSocketTimeout()
    })
  },
})
