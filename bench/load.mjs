/**
 * The load generator, a process of its own: autocannon, one job a message, its result as the answer.
 * autocannon's own histogram counts whole milliseconds: the times here are taken from each response.
 */
import autocannon from 'autocannon'

process.on('message', async ({ url, body, connections, seconds }) => {
  const times = []
  let non200 = 0
  const started = performance.now()
  let last = started
  const post = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body }
  const run = autocannon({ url, connections, duration: seconds, excludeErrorStats: true, ...post })
  run.on('response', (_client, status, _bytes, ms) => {
    times.push(ms)
    if (status !== 200) non200++
    last = performance.now()
  })
  const { errors, timeouts } = await run
  times.sort((a, b) => a - b)
  const percentile = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))]
  process.send({
    perSecond: (times.length / (last - started)) * 1_000,
    p50: percentile(0.5),
    p99: percentile(0.99),
    requests: times.length,
    non200: non200 + errors + timeouts,
  })
})
process.on('disconnect', () => process.exit())
