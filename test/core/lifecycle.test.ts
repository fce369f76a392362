import { setTimeout as sleep } from 'node:timers/promises'
import fp from 'fastify-plugin'
import t from 'tap'
import { unstarted } from '../support/app.ts'
import { database, migrationsFolder, PATIENCE_MS, until } from '../support/helper.ts'

t.test(
  'a job that a start task begins finds the tables, and closing waits for it while the pool is open',
  async (t) => {
    const folder = migrationsFolder(t, {
      '99990101000000_jobs.ts': `import { sql } from 'kysely'
export const up = (db) => sql\`create table jobs_of_test (id int)\`.execute(db)
export const down = (db) => sql\`drop table jobs_of_test\`.execute(db)`,
    })
    const DATABASE_URL = await database(t)
    let job: Promise<void> | undefined
    const order: string[] = []
    const plugin = fp(
      async function job_of_test(fastify) {
        const insert = () => fastify.pg.query('insert into jobs_of_test values (1)')
        const run = async (signal: AbortSignal) => {
          await insert()
          order.push('begun')
          await sleep(PATIENCE_MS, undefined, { signal }).catch(() => {})
          await insert()
          order.push(signal.aborted ? 'ended' : 'never told')
        }
        fastify.lifecycle.add(
          'job_of_test',
          async ({ signal }) => {
            job = run(signal)
          },
          { shown: false },
        )
        fastify.addHook('onClose', async () => {
          await job
          order.push(`closed, with the pool ${fastify.pg.pool.ended ? 'closed' : 'open'}`)
        })
      },
      { name: 'job_of_test', fastify: '5.x', dependencies: ['migrations', 'lifecycle'] },
    )
    const app = await unstarted(t, { DATABASE_URL }, { folder, routes: plugin })
    t.same(order, [], 'nothing begins before the start tasks')
    await app.lifecycle.start()
    t.notOk('job_of_test' in (await app.inject('/health/ready')).json().checks)
    await until(
      () => order,
      ({ length }) => length > 0,
    )
    await app.close()
    t.same(order, ['begun', 'ended', 'closed, with the pool open'])
    t.equal(app.pg.pool.ended, true)
  },
)

t.test('a second start task of the same name is refused, and takes the place of none', async (t) => {
  const twice = fp(
    async function twice(fastify) {
      fastify.lifecycle.add('migrations', async () => {})
    },
    { name: 'twice', dependencies: ['migrations', 'lifecycle'] },
  )
  await t.rejects(unstarted(t, {}, { routes: twice }), { message: 'A start task is named migrations already' })
})
