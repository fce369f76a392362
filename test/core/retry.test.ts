import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { fastify } from 'fastify'
import t from 'tap'
import { failureLog, retry } from '../../src/core/retry.ts'

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

t.test('of a fetch that failed the log has the reason and the error of its cause', async (t) => {
  const lines: unknown[] = []
  const { log } = fastify({ logger: { stream: { write: (line) => lines.push(JSON.parse(line)) } } })
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const err = await fetch(`http://127.0.0.1:${port}`).catch((err) => err)
  failureLog(log, 'failing').failed(err)
  t.match(lines, [{ reason: 'refused', err: { code: 'ECONNREFUSED' } }])
})

t.test('kinds of failure that alternate are logged once each, and no more than twenty', (t) => {
  const lines: string[] = []
  const { log } = fastify({ logger: { stream: { write: (line) => lines.push(JSON.parse(line).err.message) } } })
  const failures = failureLog(log, 'failing')
  for (let n = 0; n < 400; n++) failures.failed(Object.assign(new Error('no'), { code: n % 2 ? 'EPIPE' : 'ENOTFOUND' }))
  t.equal(lines.length, 2)
  for (let n = 0; n < 400; n++) failures.failed(new Error(`${n}`), {}, `kind ${n}`)
  t.equal(lines.length, 20)
  const later = performance.now() + 60_000
  const now = t.intercept(performance, 'now', { value: () => later })
  t.equal(failures.failed(new Error('a minute later'), {}, 'kind 0'), true)
  now.restore()
  failures.over()
  t.equal(failures.failed(new Error('again'), {}, 'kind 0'), true)
  t.end()
})
