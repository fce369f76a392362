import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { copyProject, ROOT, Service, sharedDatabase } from './helper.ts'

const ROUTES = `
export default async (fastify) => {
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
`

t.test('a secret that comes through any door is in no output', async (t) => {
  const app = await readFile(path.join(ROOT, 'src/app.ts'), 'utf8')
  const directory = await copyProject(t, {
    'src/routes/leak.ts': ROUTES,
    'src/app.ts': app
      .replace(/^import healthRoutes/m, "import leak from './routes/leak.ts'\n$&")
      .replace('await fastify.register(healthRoutes)', '$&\n    await fastify.register(leak)'),
  })
  const env = { DATABASE_URL: await sharedDatabase(), LOG_LEVEL: 'trace' }
  const service = new Service(t, env, { source: directory })
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
