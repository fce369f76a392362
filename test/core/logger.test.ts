import pino from 'pino'
import t from 'tap'
import { logger } from '../../src/core/logger.ts'

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
  log.info({ raw: Object.entries(headers).flat() })
  log.child({ authorization: 'hunter2' }).info(`sent Authorization: Basic aHVudGVyMg==`)

  const output = lines.join('')
  t.notMatch(output, /hunter2|aHVudGVyMg/)
  t.match(output, /cannot reach postgres:\/\/\[redacted\]@db:5432\/app/, 'and says where')
  t.equal(output.match(/"kept":"kept"/g)?.length, 1)
  for (const line of lines) t.ok(JSON.parse(line))
})

t.test('a URL or an error without secrets is left as it is', async (t) => {
  const lines: { msg: string }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const texts = ['Server listening at http://127.0.0.1:3000', 'mail to somebody@example.org', 'no password']
  for (const text of texts) log.info(text)
  t.same(
    lines.map(({ msg }) => msg),
    texts,
  )
})

t.test('a line that a client makes long and hostile is written all the same', async (t) => {
  const lines: { msg: string }[] = []
  const log = pino(logger, { write: (line: string) => void lines.push(JSON.parse(line)) })
  for (const part of ['://', '\\', 'password="', "password='", '":["']) {
    const text = part.repeat(4_000_000 / part.length)
    log.info({ password: text, cookies: [text] }, text)
  }
  t.equal(lines.length, 5)
})
