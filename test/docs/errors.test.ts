import { readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { database, query, ROOT } from '../support/helper.ts'

const page = readFileSync(path.join(ROOT, 'docs/errors.md'), 'utf8')
const [, shown = ''] = /```ts\n(import .*?)```/s.exec(page) ?? []
// A service may have notes of its own.
const code = shown.replaceAll('notes', 'notes_of_docs')

t.test('docs: the errors of its own that docs/errors.md gives a service', async (t) => {
  const core = pathToFileURL(path.join(ROOT, 'src/core')).href
  const directory = t.testdir({ 'notes.ts': code.replaceAll("'../core", `'${core}`) })
  const { default: notes } = await import(pathToFileURL(path.join(directory, 'notes.ts')).href)
  // After the route, as src/app.ts loads its features.
  const { build } = await import('../support/app.ts')
  const url = await database(t)
  await query(
    url,
    `create table notes_of_docs (name text constraint notes_of_docs_name_key unique);
    create function closed() returns trigger language plpgsql as
      $$ begin raise exception 'closed' using errcode = 'NT001'; end $$;
    create trigger closed before insert on notes_of_docs for each row when (new.name = 'late') execute function closed()`,
  )
  const app = await build(t, { DATABASE_URL: url }, notes)
  const post = (name?: string) => app.inject({ method: 'POST', url: '/notes_of_docs', payload: { name } })

  t.equal((await post('first')).statusCode, 201)
  t.match((await post('first')).json(), { statusCode: 409, code: 'NOTE_EXISTS', message: 'The name is taken' })
  t.match((await post('late')).json(), { statusCode: 422, code: 'NOTES_CLOSED' })
  t.match((await app.inject('/notes_of_docs/none')).json(), { statusCode: 404, code: 'NO_SUCH_NOTE' })
  t.match((await post()).json(), { statusCode: 400, errors: [{ path: 'body/name' }] })
})
