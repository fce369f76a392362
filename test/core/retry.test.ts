import { fastify } from 'fastify'
import t from 'tap'
import { retry } from '../../src/core/retry.ts'

t.test('a failure that lasts is logged once, and again when its reason changes', async (t) => {
  const reasons: string[] = []
  const { log } = fastify({ logger: { stream: { write: (line) => reasons.push(JSON.parse(line).reason) } } })
  const codes = ['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH']
  const attempt = async () => {
    const code = codes.shift()
    if (code) throw Object.assign(new Error('no'), { code })
  }
  await retry(attempt, { signal: new AbortController().signal, log, message: 'waiting' })
  t.same(reasons, ['refused', 'unreachable'])
})
