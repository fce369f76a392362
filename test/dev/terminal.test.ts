import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { place, prettyLog } from '../../dev/terminal.ts'
import { backends, copyProject, ENV, event, sharedDatabase, unmeasured, until } from '../support/helper.ts'
import { preload } from '../support/process.ts'

/** Line breaks, commands to the terminal, and what hides or reorders text. */
const HOSTILE =
  'a\nINFO: forged\r\b\x07\x1b[2J\x1b]0;title\x07\x7f\x85\x9b31m\u2028\u2029\u200b\u202e\u2066\u{e0041}\\u001bz'
const HARMLESS = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u

const harmless = (line: string) => HARMLESS.test(line) && !line.startsWith('INFO: forged')

t.test('npm run dev prints neither a password that it was given nor what a client sent to the terminal', async (t) => {
  const cwd = await copyProject(t)
  const database = new URL(await sharedDatabase())
  database.searchParams.set('application_name', 'hunter2')
  const [program, ...hooks] = unmeasured(
    preload(`
      import { subscribe } from 'node:diagnostics_channel'
      subscribe('fastify.initialization', ({ fastify }) => fastify.get('/hostile', async ({ log, query: { text } }) => {
        log.info({ text, [text]: text, deep: [{ [text]: text }] }, text)
        log.info({ name: text, caller: text, level: 30 }, 'top')
        log.error(new Error(text, { cause: new Error(text) }))
        console.error(text.replaceAll('\\n', ''))
        log.info('all was said')
      }))`),
  )
  const dev = spawn(program as string, [...hooks, process.execPath, 'dev/main.ts'], {
    cwd,
    env: { PATH: process.env['PATH'], ...ENV, DATABASE_URL: database.href, REDIS_URL: backends.redis },
    stdio: 'pipe',
  })
  const exited = once(dev, 'close')
  t.teardown(async () => {
    dev.kill()
    await exited
  })
  let output = ''
  for (const stream of [dev.stdout, dev.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const [, port] = await until(
    () => /Server listening at .*:(\d+)\n.*INFO: ready\n/s.exec(output) ?? [],
    ([found]) => found !== undefined,
  )
  const socket = connect(Number(port), '127.0.0.1').resume()
  socket.write(`GET /${encodeURIComponent(HOSTILE)} HTTP/1.1\r\nhost: x\r\nx-request-id: \x9b31m\r\n\r\n`)
  socket.end('GET /\x1b[2J HTTP/1.1\r\n\r\n', 'latin1')
  await event(socket, 'close')
  await fetch(`http://127.0.0.1:${port}/hostile?text=${encodeURIComponent(HOSTILE)}`)
  await until(
    () => output,
    (text) => text.includes('all was said'),
  )
  t.same(
    output.split('\n').filter((line) => !harmless(line)),
    [],
  )
  t.match(output, /INFO: a\\nINFO: forged\\r\\b\\u0007\\u001b\[2J/, 'it is told all the same')
  t.match(output, `database  postgres://${database.host}${database.pathname}\n`)
  t.notMatch(output, 'hunter2')
  for (const { password } of [database, new URL(backends.redis)]) if (password) t.notMatch(output, password)
})

t.test('the log keeps its colours, the stack of an error its lines, and both their characters', async (t) => {
  const log = prettyLog(true)
  const stack = `Error: ${HOSTILE}\n    at open (file.ts:1:1)`
  const entries = [
    { level: 30, msg: 'é💥' },
    { level: 50, msg: HOSTILE, err: { type: 'Error', message: HOSTILE, stack } },
  ]
  // A chunk may end anywhere, also within a character, and the last line may have no end.
  for (const byte of Buffer.from(entries.map((entry) => JSON.stringify(entry)).join('\n'))) log.write(Buffer.of(byte))
  const text = (log.end().setEncoding('utf8').read() as string).replaceAll('\x1b[', '<')
  t.match(text, /^<32mINFO<39m: <36mé💥<39m\n/)
  t.match(text, /\n +at open \(file\.ts:1:1\)\n/)
  const plain = text.replace(/<\d\d?m/g, '')
  t.same(
    plain.split('\n').filter((line) => !harmless(line)),
    [],
  )
})

t.test('a line may be as long and as deep as it likes', async (t) => {
  const log = prettyLog(false)
  const deep = `{"level":30,"msg":"deep","body":${'['.repeat(5_000)}"\u202e"${']'.repeat(5_000)}}`
  log.write(`${deep}\n`)
  t.ok(String(log.read()).includes('["\\u{202e}"]]'), 'too deep for pino-pretty')
  // In small pieces it took 46 s.
  for (let piece = 0; piece < 10_000; piece += 1) log.write('x'.repeat(1_024))
  t.equal(log.read(), null, 'the line has not ended')
  log.end()
  let bytes = 0
  for await (const chunk of log) bytes += (chunk as Buffer).length
  t.equal(bytes, 10_240_001)
})

t.test('of a URL the place is told, and nothing that can be a secret', async (t) => {
  const places = {
    'postgres://app:hunter2@db:5432/app': 'postgres://db:5432/app',
    'postgres://app:hunter2@one:5432,two/app?password=hunter2': 'postgres://one:5432,two/app',
    'postgres://app:hunter%322@[::1]/app?sslmode=require&sslpassword=hunter2': 'postgres://[::1]/app',
    'postgres://app:hunter2@hunter2@db/app': 'postgres://db/app',
    'rediss://:hunter2@cache:6380/1': 'rediss://cache:6380/1',
    'redis://hunter2@cache': 'redis://cache',
    'redis://127.0.0.1:6379': 'redis://127.0.0.1:6379',
  }
  for (const [url, expected] of Object.entries(places)) t.equal(place(url), expected)
  const unclear = [
    'postgres://app:hunter2#hunter2@db/app',
    'postgres://app:hunter2%40db/app',
    'postgres://app:hunter2/app',
    'postgres://app:hunter2/hunter2@db/app',
    'postgres://app:hunter2?hunter2@db/app',
    'postgres://db/app?password=hunter2@hunter2',
    'postgres://app:hunter2 hunter2/@db/app',
    'host=db password=hunter2',
    '',
  ]
  for (const url of unclear) t.equal(place(url), 'as configured', url)
})
