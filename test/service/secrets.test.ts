import t from 'tap'
import { sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'

// Behind the service's own plugins: Fastify tells of each instance that it makes.
const ROUTES = `
import { subscribe } from 'node:diagnostics_channel'

async function routes(fastify) {
  fastify.post('/leak/:token', async (request) => {
    request.log.info({ req: request, headers: request.headers }, 'handling')
    request.log.info({ raw: request.raw.rawHeaders }, request.headers.authorization)
    throw Object.assign(new Error('cannot reach postgres://app:hunter2@db/app'), {
      statusCode: Number(request.query.status),
      cause: new Error('password=hunter2', { cause: request.headers }),
      command: { args: ['hunter2'] },
    })
  })
  fastify.get('/crash', async () => {
    setTimeout(() => { throw new Error('redis://:hunter2@cache cannot be reached') })
  })
}

subscribe('fastify.initialization', ({ fastify }) => queueMicrotask(() => fastify.register(routes)))
`

t.test('a secret that comes through any door is in no output', async (t) => {
  const env = { DATABASE_URL: await sharedDatabase(), LOG_LEVEL: 'trace' }
  // In a file: stack traces hold the URL of a module.
  const NODE_OPTIONS = `--import=${t.testdir({ 'routes.mjs': ROUTES })}/routes.mjs`
  const service = new Service(t, { ...env, NODE_OPTIONS })
  const url = await service.url()
  await service.logged('ready')

  const headers = {
    authorization: 'Bearer hunter2',
    'proxy-authorization': 'Basic hunter2',
    cookie: 'session=hunter2',
  }
  const query = 'password=hunter2&token=hunter2&url=postgres://app:hunter2@db'
  const ask = async (route: string, type?: string) => {
    const body = type ? '{"password":"hunter2' : null
    const init = { method: 'POST', headers: { ...headers, ...(type && { 'content-type': type }) }, body }
    return (await fetch(`${url}/${route}`, init)).status
  }
  for (const status of [500, 502, 400]) t.equal(await ask(`leak/hunter2?status=${status}&${query}`), status)
  t.equal(await ask(`nowhere/hunter2?${query}`), 404)
  t.equal(await ask(`leak/%hunter2?${query}`), 400)
  t.equal(await ask(`leak/${'hunter2'.repeat(20)}?${query}`), 414)
  t.equal(await ask(`leak/hunter2?${query}`, 'text/hunter2'), 415)
  t.equal(await ask(`leak/hunter2?${query}`, 'application/json'), 400)

  await fetch(`${url}/crash?${query}`, { headers }).catch(() => {})
  t.equal(await service.exited, 1)
  t.match(service.fatal, { msg: 'uncaught error', err: { message: 'redis://[redacted]@cache cannot be reached' } })
  t.equal(service.logs.filter(({ msg }) => msg === 'handling').length, 3)
  t.notMatch(service.output, /hunter2/)
})
