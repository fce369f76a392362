import t from 'tap'
import { tenantColumns } from '../../src/tenants/columns.ts'
import { db } from '../support/dummy.ts'

const TIMESTAMPS = '"created_at" timestamptz default now() not null, "updated_at" timestamptz default now() not null'

// Migrations that were applied long ago call it: a helper that must make other columns gets another name.
t.test('the columns are those they always were', async (t) => {
  t.equal(
    db.schema.createTable('a').$call(tenantColumns).compile().sql,
    `create table "a" ("tenant_id" uuid not null references "tenants" ("id"), ${TIMESTAMPS})`,
  )
})
