import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ROOT, run } from '../support/helper.ts'
import { parse, validate } from './manifests.ts'

t.test('the Prometheus operator takes the alerts, as the page says', async (t) => {
  const page = readFileSync(path.join(ROOT, 'docs/observability.md'), 'utf8')
  const [, command = ''] = /```sh\n(\{ printf.*?)```/s.exec(page) ?? []
  const { stdout } = await run('sh', ['-c', command.replace('kubectl apply -f -', 'cat')])
  const [rule] = parse(stdout)
  t.equal(rule.spec.groups[0].rules.length, stdout.match(/- alert: /g)?.length)
  await validate(t, [rule], '@kubernetes-models/prometheus-operator')
})
