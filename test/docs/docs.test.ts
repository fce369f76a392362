import { readFileSync } from 'node:fs'
import t from 'tap'
import { documents } from '../../dev/docs.ts'
import { OWN } from '../env.ts'
import { configure } from '../support/app.ts'

for (const [file, content] of Object.entries(documents())) {
  t.test(`${file} tells what features and package.json do (npm run docs writes it)`, async (t) => {
    t.equal(readFileSync(file, 'utf8'), content)
  })
}

t.test('.env.example with every line in force is a configuration that works', async (t) => {
  const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  // One without a default is none. What test/env.ts sets, a required one for instance, has its value from there.
  const found = [...example.matchAll(/^# ([A-Z_]+)=(.+)$/gm)].map(([, name, value]) => [name as string, value] as const)
  const lines = found.filter(([name]) => !(name in OWN))
  const config = await configure(t, { ...Object.fromEntries(lines), DATABASE_URL: 'postgres://localhost/app' })
  t.match(config, await configure(t, { DATABASE_URL: 'postgres://localhost/app' }))
})
