import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ROOT } from '../support/helper.ts'

const DOCS = path.join(ROOT, 'docs')

t.test('each claim of the threat model is the title of a test', async (t) => {
  const page = readFileSync(path.join(DOCS, 'security.md'), 'utf8')
  const claims = [...page.matchAll(/^\| \[(.+?)\]\((.+?\.test\.ts)\) \|/gm)]
  t.ok(claims.length > 10)
  for (const [, title, file] of claims) {
    const test = readFileSync(path.join(DOCS, file as string), 'utf8')
    t.ok(new RegExp(`['"\`](\\$\\{\\w+\\} )?${RegExp.escape(title as string)}['"\`]`).test(test), `${file}: ${title}`)
  }
})
