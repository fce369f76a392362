import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'
import t from 'tap'
import { tenantColumns, timestamps } from '../../src/database/columns.ts'

const db = new Kysely<never>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
})
const TIMESTAMPS = '"created_at" timestamptz default now() not null, "updated_at" timestamptz default now() not null'

// Migrations that were applied long ago call these: a helper that must make other columns gets another name.
t.test('the columns are those they always were', async (t) => {
  t.equal(db.schema.createTable('a').$call(timestamps).compile().sql, `create table "a" (${TIMESTAMPS})`)
  t.equal(
    db.schema.createTable('a').$call(tenantColumns).compile().sql,
    `create table "a" ("tenant_id" uuid not null references "tenants" ("id"), ${TIMESTAMPS})`,
  )
})
