import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { inspect, types } from 'node:util'
import vm from 'node:vm'
import { Worker } from 'node:worker_threads'
import pino from 'pino'
import t, { type Test } from 'tap'
import { LogOutput } from '../../src/core/log-output.ts'
import { logger } from '../../src/core/logger.ts'
import { event, until } from '../support/helper.ts'

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

t.test('nor is more of whatever else was thrown', async (t) => {
  const lines: { err: unknown }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const source = "Object.assign(new Error('elsewhere'), { command: { args: ['hunter2'] } })"
  const worker = new Worker(`require('node:worker_threads').parentPort.postMessage(${source})`, { eval: true })
  const [ofWorker] = await event(worker, 'message')
  const ofContext: unknown = vm.runInNewContext(source)
  t.ok(types.isNativeError(ofContext) && !(ofContext instanceof Error))
  for (const err of [ofWorker, ofContext]) log.error({ err })
  log.error(ofContext)
  for (const err of [{ message: { args: ['hunter2'] }, args: ['hunter2'] }, 'text', 7, null]) log.error({ err })
  log.error({ err: new Error('with a message') }, Symbol('token') as unknown as string)
  const elsewhere = { type: 'Error', message: 'elsewhere', stack: String }
  t.match(
    lines.map(({ err }) => err),
    [elsewhere, elsewhere, elsewhere, {}, 'text', 7, null, { message: 'with a message' }],
  )
  t.notMatch(JSON.stringify(lines), /hunter2/)
})

t.test('what cannot be read of an error, or of a request, is left out, and nothing is thrown', async (t) => {
  const lines: object[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  for (const property of ['name', 'code', 'stack', 'cause', 'errors']) {
    const err = new Error('unreadable')
    Object.defineProperty(err, property, {
      get() {
        throw new Error('unreadable')
      },
    })
    log.error({ err: new Error('effect', { cause: err }) })
    log.error({ err })
  }
  for (const req of [{ method: 'GET', url: '/?token=hunter2' }, {}, null, 'text']) log.info({ req })
  const unreadable = { message: 'unreadable' }
  const errors = Array.from({ length: 5 }, () => [
    { err: { message: 'effect', cause: unreadable } },
    { err: unreadable },
  ])
  t.match(lines, [...errors.flat(), { req: { method: 'GET' } }, { req: {} }, { req: {} }, { req: {} }])
  t.notMatch(JSON.stringify(lines), /hunter2/)
})

t.test('causes that form a loop, or never end', async (t) => {
  const lines: { err: { cause: { cause?: object } } }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const [one, other] = [new Error('one'), new Error('other')]
  one.cause = other
  other.cause = one
  log.error({ err: one })
  let long = new Error('first')
  for (let i = 0; i < 20_000; i++) long = new Error('next', { cause: long })
  log.error({ err: long })
  t.match(lines[0], { err: { message: 'one', cause: { message: 'other', cause: undefined } } })
  t.equal(JSON.stringify(lines[1]).split('"cause"').length, 11)
})

t.test('errors in an error, as many as there are, of whatever length', async (t) => {
  const lines: { err: object }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const refused = (host: string) => Object.assign(new Error(host), { code: 'ECONNREFUSED' })
  log.error({ err: new Error('fetch failed', { cause: new AggregateError([refused('::1'), refused('127.0.0.1')]) }) })
  const nest = (depth: number): Error =>
    new AggregateError(Array.from({ length: 30 }, () => depth > 0 && nest(depth - 1)))
  for (const err of [nest(3), new Error('x'.repeat(1_000_000)), 'x'.repeat(1_000_000)]) log.error({ err }, 'no')
  t.match(lines[0]?.err, { cause: { errors: [{ code: 'ECONNREFUSED', message: '::1' }, { message: '127.0.0.1' }] } })
  for (const line of lines) t.ok(JSON.stringify(line).length < 100_000)
  t.equal(JSON.stringify(lines[1]).split('"AggregateError"').length - 1, 11)
})

t.test('no line holds a secret, wherever in it that is', async (t) => {
  const lines: string[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(line) })
  const uris = [
    'postgres://app:hunter2@db:5432/app',
    'redis://:hunter2@cache',
    'postgres://app:hunter2@hunter2@db/app',
    'postgres://app:"hunter2\\"@db/app',
    'postgres://hunter2@db/app?x=1',
    'postgres://db/app?user=app&password=hunter2&x=1',
    'postgres://db:5432/app?password=hunter2@hunter2',
    'host=db password=hunter2 dbname=app',
    "host=db password='hunter2 hunter2' dbname=app",
  ]
  for (const uri of uris) {
    log.info(uri)
    log.info({ deep: { uri: [uri] } })
    log.error(new Error(`cannot reach ${uri}`, { cause: new Error(uri) }))
  }
  const headers = {
    authorization: 'Bearer hunter2',
    'proxy-authorization': 'Basic aHVudGVyMg==',
    cookie: 'session=hunter2; other="hunter2"',
    'set-cookie': ['session=hunter2; Path=/', 'other="hunter2"'],
    kept: 'kept',
  }
  log.info({ headers, password: 'hunter2', POSTGRES_PASSWORD: 'hunter\\"2hunter2' })
  for (const name of ['token', 'accessToken', 'client_secret', 'api_key', 'x-api-key', 'apikey', 'pwd', 'passwd']) {
    const values = [
      'hunter2',
      2n,
      { deep: ['hunter2', { x: 'hunter2' }] },
      ['hunter2', ['hunter2']],
      'hun"ter2\\hunter2',
    ]
    for (const value of values) {
      log.info({ [name]: value })
      log.info({ list: [{ [name.toUpperCase()]: value }] })
      if (typeof value === 'bigint') continue
      const json = JSON.stringify({ before: 1, [name]: value })
      log.error(new Error(`cannot parse ${json}`))
      log.error(new Error(`cannot parse ${JSON.stringify({ json })}`))
      log.error(new Error(`cannot parse ${JSON.stringify({ json: JSON.stringify({ json }) })}`))
    }
    log.info(`GET /path?${name}=hunter2&x=1 and /path?x=1&${name}=hunter2`)
    log.info(`${name}: hunter2`)
    log.info(inspect(new Map([[name, 'hunter2 hunter2']])))
    log.info(`{ ${name}: 'hunter2 hunter2' }`)
  }
  log.info('POST /\r\nCookie: a=hunter2; b="hunter2"\r\nx: y')
  log.info({ raw: Object.entries(headers).flat() })
  log.child({ authorization: 'hunter2' }).info(`sent Authorization: Basic aHVudGVyMg==`)

  const output = lines.join('')
  t.notMatch(output, /hunter2|aHVudGVyMg/)
  t.match(output, /cannot reach postgres:\/\/\[redacted\]@db:5432\/app/, 'and says where')
  t.match(output, /GET \/path\?token=\[redacted\]&x=1 and \/path\?x=1&token=\[redacted\]"/)
  t.match(output, /Cookie: \[redacted\]\\r\\nx: y"/)
  t.match(output, /cannot parse {\\"before\\":1,\\"token\\":\\"\[redacted\]\\"}"/)
  t.equal(output.match(/"kept":"kept"/g)?.length, 1)
  for (const line of lines) t.ok(JSON.parse(line))
})

t.test('a URL or an error without secrets is left as it is', async (t) => {
  const lines: { msg: string }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const texts = [
    'Server listening at http://127.0.0.1:3000',
    'mail to somebody@example.org',
    'no password',
    'at open (file:///app/node_modules/@fastify/postgres/index.js:1:1)',
    'the token of @someone at http://127.0.0.1',
    'https://example.org/@scope/package is missing',
    '{"url":"https://example.org/","mail":"somebody@example.org"}',
  ]
  for (const text of texts) log.info({ hasPassword: false, token: null, tokens: undefined }, text)
  t.same(
    lines.map(({ msg }) => msg),
    texts,
  )
})

t.test('a line holds no character that commands a terminal or hides text, and says the same', async (t) => {
  const lines: string[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(line) })
  const text =
    'a\n\r\b\x07\x1b[2J\x7f\x85\x9b31m\u061c\u200b\u200f\u2028\u2029\u202e\u2066\ufeff\u00ad\ufff9\u{e0041}\\u001bé💥z'
  log.info({ text, [text]: text }, text)
  log.info({ password: 'hunter2', text }, text)
  t.notMatch(lines.join('').replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
  t.match(
    lines.map((line) => JSON.parse(line)),
    [
      { text, [text]: text, msg: text },
      { text, msg: text },
    ],
  )
})

t.test('a line that a client makes long and hostile is written all the same', async (t) => {
  const lines: { msg: string }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const parts = [
    '://',
    '://@',
    '\\',
    'password="',
    "password='",
    '":["',
    'token',
    'token ',
    'token\\',
    'basic ',
    'token:{"',
  ]
  for (const part of parts) {
    const text = part.repeat(4_000_000 / part.length)
    log.info({ password: text, cookies: [text] }, text)
    log.info(`token=${text}`)
  }
  t.equal(lines.length, 2 * parts.length)
})

/** A generator of its own, so that a failure comes again. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

t.test('every line parses, and says what it says without redaction but for the secrets', async (t) => {
  const words = [
    'password',
    'token',
    'cookie',
    'authorization',
    'api_key',
    'Bearer ',
    'Basic ',
    '://',
    '@',
    'a',
    'é',
    '💥',
  ]
  const marks = [
    '"',
    "'",
    '\\',
    ':',
    '=',
    ',',
    '[',
    ']',
    '{',
    '}',
    '&',
    '?',
    '/',
    ' ',
    '\n',
    '\0',
    '\u2028',
    '\ud800',
    '":"',
  ]
  const pick = seeded(20_261_101)
  const part = (of: string[]) => of[pick(of.length)]
  const text = () => Array.from({ length: pick(12) }, () => part(pick(2) ? words : marks)).join('')
  const lines: string[] = []
  const log = pino({ ...logger, timestamp: () => ',"time":0' }, { write: (line: string) => void lines.push(line) })
  const whole: string[] = []
  const { hooks: _, ...unredacted } = logger
  const plain = pino(
    { ...unredacted, timestamp: () => ',"time":0' },
    { write: (line: string) => void whole.push(line) },
  )
  for (let i = 0; i < 20_000; i++) {
    const [url, header, id, message] = [text(), text(), text(), text()]
    const entry = { headers: { [text()]: header, cookie: text() }, url, raw: [text(), text()], err: new Error(message) }
    for (const each of [log, plain]) each.child({ requestId: id, traceId: 'trace' }).info(entry, message)
  }
  for (const [i, line] of lines.entries()) {
    const [{ requestId, traceId, msg }, before] = [JSON.parse(line), JSON.parse(whole[i] as string)]
    const kept = traceId === 'trace' && line.indexOf('\n') === line.length - 1
    const same = (text: string, of: string) => text === of || text.includes('[redacted]')
    if (!kept || !same(requestId, before.requestId) || !same(msg, before.msg)) t.fail(line)
  }
  t.equal(lines.length, 20_000)
})

/** A pipe whose writer does not block. Nobody reads it unless `read()` does, which takes what is in it. */
function pipe(t: Test) {
  const file = `${t.testdir({})}/pipe`
  execFileSync('mkfifo', [file])
  const fd = openSync(file, constants.O_RDWR | constants.O_NONBLOCK)
  t.teardown(() => closeSync(fd))
  const buffer = Buffer.alloc(16 * 1024)
  const chunks: Buffer[] = []
  /** All that was ever in it. */
  const read = () => {
    try {
      for (;;) chunks.push(Buffer.from(buffer.subarray(0, readSync(fd, buffer))))
    } catch {} // it is empty
    return Buffer.concat(chunks).toString()
  }
  return { fd, read }
}

/** Of very different lengths, up to one that is longer than a pipe holds. */
const LINES = [
  ...Array.from({ length: 400 }, (_, i) => `${i} ${'é'.repeat(i)}\n`),
  `${'x'.repeat(100_000)}\n`,
  'last\n',
]

t.test('lines wait for a reader that is slow, in their order, and none is torn', async (t) => {
  const { fd, read } = pipe(t)
  const output = new LogOutput(fd)
  for (const line of LINES) output.write(line)
  t.equal(await until(read, (text) => text.endsWith('last\n')), LINES.join(''))
  output.write('afterwards\n')
  t.ok((await until(read, (text) => text.endsWith('afterwards\n'))).endsWith('last\nafterwards\n'))
  t.equal(output.lost, 0)
})

t.test('what waits is bounded: lines beyond are counted, and the log goes on with those after', async (t) => {
  const { fd, read } = pipe(t)
  const output = new LogOutput(fd)
  const line = `${'x'.repeat(1_023)}\n`
  let written = 0
  for (; output.lost < 10; written++) output.write(line)
  t.ok(written < 10_000, 'ten megabytes at the most')
  const kept = (written - 10) * line.length
  await until(read, ({ length }) => length === kept)
  output.write('afterwards\n')
  t.ok((await until(read, ({ length }) => length > kept)).endsWith('x\nafterwards\n'))

  output.write(`${'y'.repeat(9_000_000)}\n`)
  t.equal((await until(read, (text) => text.endsWith('y\n'))).split('y').length, 9_000_001, 'one line is kept whole')
})

t.test('many short lines that waited hold nothing up when they are written', async (t) => {
  const { fd, read } = pipe(t)
  const output = new LogOutput(fd)
  // Each one moved all those behind it: minutes in which the process did little else.
  const lines = Array.from({ length: 800_000 }, (_, i) => `${i}\n`)
  for (const line of lines) output.write(line)
  const whole = lines.join('')
  t.ok((await until(read, ({ length }) => length === whole.length)) === whole)
  t.equal(output.lost, 0)
})

t.test('a process that exits waits for a slow reader, and not for ever for one that does not read', async (t) => {
  const { fd } = pipe(t)
  const output = new LogOutput(fd)
  for (const line of LINES) output.write(line)
  const reader = new Worker(
    `const { readSync } = require('node:fs')
    const { parentPort, workerData } = require('node:worker_threads')
    const buffer = Buffer.alloc(4096)
    let text = ''
    parentPort.postMessage('reads')
    while (!text.endsWith('last\\n')) try { text += buffer.latin1Slice(0, readSync(workerData, buffer)) } catch {}
    parentPort.postMessage(Buffer.from(text, 'latin1').toString())`,
    { eval: true, workerData: fd },
  )
  await event(reader, 'message')
  const [read, exited] = [event(reader, 'message'), event(reader, 'exit')]
  output.end()
  t.same(await read, [LINES.join('')])
  await exited

  for (const line of LINES) output.write(line)
  output.end()
  t.pass('ends')
})
