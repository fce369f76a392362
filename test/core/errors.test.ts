import t from 'tap'
import { build } from '../support/app.ts'

t.test(
  "errors of the server say nothing, those of a backend ask to come back, those of a client are Fastify's",
  async (t) => {
    const thrown: Record<string, unknown> = {
      bug: new Error('the secret is hunter2'),
      refused: Object.assign(new Error('connect ECONNREFUSED 10.0.0.1'), { code: 'ECONNREFUSED' }),
      limit: Object.assign(new Error('sorry, too many clients already'), { code: '53300' }),
      pool: new Error('timeout exceeded when trying to connect'),
      gateway: Object.assign(new Error('upstream hunter2 said no'), { statusCode: 502 }),
      statement: Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' }),
      client: Object.assign(new Error('name is missing'), { statusCode: 400 }),
      null: null,
      object: { secret: 'hunter2' },
      absent: { secret: 'hunter2', statusCode: 404 },
    }
    const app = await build(t, {}, async (fastify) => {
      fastify.get<{ Params: { name: string } }>('/throw/:name', async ({ params }) => {
        throw thrown[params.name]
      })
    })
    const ask = (name: string) => app.inject(`/throw/${name}`)

    const bug = await ask('bug')
    t.equal(bug.statusCode, 500)
    t.same(bug.json(), { statusCode: 500, error: 'Internal Server Error', message: 'Internal Server Error' })
    t.equal(bug.headers['retry-after'], undefined)

    for (const name of ['refused', 'limit', 'pool']) {
      const answer = await ask(name)
      t.equal(answer.statusCode, 503, name)
      t.equal(answer.headers['retry-after'], '1')
      t.same(answer.json(), { statusCode: 503, error: 'Service Unavailable', message: 'Service Unavailable' })
    }

    t.same((await ask('gateway')).json(), { statusCode: 502, error: 'Bad Gateway', message: 'Bad Gateway' })
    t.equal((await ask('statement')).statusCode, 503, 'a statement that was cut off for its time is worth another try')

    for (const name of ['null', 'object']) t.same((await ask(name)).json(), bug.json(), 'whatever is thrown')
    t.same((await ask('absent')).json(), { statusCode: 404, error: 'Not Found', message: 'Not Found' })

    const client = await ask('client')
    t.equal(client.statusCode, 400)
    t.same(client.json(), { statusCode: 400, error: 'Bad Request', message: 'name is missing' })
  },
)
