import t from 'tap'
import { MIGRATIONS } from '../support/helper.ts'
import { needsPgbouncer, pooled } from '../support/pgbouncer.ts'
import { Service } from '../support/process.ts'

t.test('three replicas migrate beside PgBouncer, and serve over it', needsPgbouncer, async (t) => {
  const variables = await pooled(t, { empty: true })
  const replicas = [1, 2, 3].map(() => new Service(t, variables))
  await Promise.all(replicas.map((replica) => replica.logged('ready')))
  const migrated = replicas.flatMap(({ logs }) => logs.filter(({ msg }) => msg === 'migrated'))
  t.equal(migrated.length, MIGRATIONS.length)
  for (const replica of replicas) {
    const health = await fetch(`${await replica.url()}/health`)
    t.match(await health.json(), { status: 'healthy' })
  }
})

t.test('a statement timeout is a startup parameter, which PgBouncer refuses', needsPgbouncer, async (t) => {
  const variables = await pooled(t)
  const service = new Service(t, { ...variables, DATABASE_STATEMENT_TIMEOUT_MS: '1000' })
  t.equal(await service.exited, 1)
  t.match(service.logs.at(-1), { err: { message: 'unsupported startup parameter: statement_timeout' } })
})
