import { Kysely, sql } from 'kysely'
import t from 'tap'
import { migrationDialect } from '../../src/migrations/migrator.ts'
import { build, configure } from '../support/app.ts'
import { sharedDatabase } from '../support/helper.ts'
import { plainPool } from '../support/plain-pool.ts'

const TEXTS = {
  "date '2026-11-27'": '2026-11-27',
  "date '0044-03-15 BC'": '0044-03-15 BC',
  "date 'infinity'": 'infinity',
  "timestamp '2026-11-27 22:15:41.123456'": '2026-11-27 22:15:41.123456',
  "array[date '2026-11-27', null]": ['2026-11-27', null],
  "array[timestamp '2026-11-27 22:15:41']": ['2026-11-27 22:15:41'],
  'array[9007199254740993.10, null]::numeric[]': ['9007199254740993.10', null],
  'count(*)': '1',
  "numeric 'NaN'": 'NaN',
}
const OTHERS = {
  "timestamptz '2026-11-27 22:15:41.123+05:30'": new Date('2026-11-27T16:45:41.123Z'),
  "timestamptz 'infinity'": Number.POSITIVE_INFINITY,
  "timestamptz '-infinity'": Number.NEGATIVE_INFINITY,
  "timestamptz '0044-03-15 12:00:00Z BC'": new Date('-000043-03-15T12:00:00Z'),
  "timestamptz '12026-01-01 00:00:00Z'": new Date('+012026-01-01T00:00:00Z'),
  'count(*)::int': 1,
  "float8 'NaN'": Number.NaN,
  "array['a']::text[]": ['a'],
  "'9007199254740993'::jsonb": 9007199254740992,
}

t.test('service and migrations read days, times without a zone and numbers as text', async (t) => {
  const url = await sharedDatabase()
  const app = await build(t, { DATABASE_URL: url })
  const migrating = new Kysely<never>({ dialect: migrationDialect(await configure(t, { DATABASE_URL: url })) })
  t.teardown(() => migrating.destroy())
  for (const db of [app.db, migrating]) {
    for (const [expression, value] of Object.entries({ ...TEXTS, ...OTHERS })) {
      const { rows } = await sql<{ value: unknown }>`select ${sql.raw(expression)} as value`.execute(
        db as Kysely<never>,
      )
      t.strictSame(rows, [{ value }], expression)
    }
  }
  const { rows } = await app.pg.query("select date '2026-11-27' as day")
  t.same(rows, [{ day: '2026-11-27' }])
})

t.test("pools of a service's own read as pg does", async (t) => {
  const pool = plainPool(await sharedDatabase())
  t.teardown(() => pool.end())
  t.match((await pool.query("select date '2026-11-27' as day")).rows, [{ day: Date }])
})
