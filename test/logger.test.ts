import pino from 'pino'
import t from 'tap'
import { logger } from '../src/logger.ts'

t.test('an error is logged with its causes, and without what a driver hangs on it', async (t) => {
  const lines: { err: object }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const cause = Object.assign(new Error('refused'), { code: 'X', command: { args: ['hunter2'] } })
  log.error({ err: new Error('failed', { cause }) })
  log.error({ err: { code: 'Y', message: 'no Error, but what was left of one' } })
  t.match(lines, [
    { err: { type: 'Error', message: 'failed', stack: String, cause: { code: 'X', message: 'refused' } } },
    { err: { code: 'Y', message: 'no Error, but what was left of one' } },
  ])
  t.notMatch(JSON.stringify(lines), /hunter2/)
})
