import t from 'tap'
import { millisecondTimestamps, timestamps } from '../../src/database/columns.ts'
import { db } from '../support/dummy.ts'

const TIMESTAMPS = '"created_at" timestamptz default now() not null, "updated_at" timestamptz default now() not null'

// Migrations that were applied long ago call it: a helper that must make other columns gets another name.
t.test('the columns are those they always were', async (t) => {
  t.equal(db.schema.createTable('a').$call(timestamps).compile().sql, `create table "a" (${TIMESTAMPS})`)
  t.equal(
    db.schema.createTable('a').$call(millisecondTimestamps).compile().sql,
    `create table "a" (${TIMESTAMPS.replaceAll('timestamptz', 'timestamptz(3)')})`,
  )
})
