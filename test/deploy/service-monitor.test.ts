import t from 'tap'
import { sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { parse, read, validate } from './manifests.ts'

const FILE = 'components/service-monitor/service-monitor.yaml'

t.test('the service monitor is what the Prometheus operator takes', async (t) => {
  await validate(t, read(FILE), '@kubernetes-models/prometheus-operator')
})

t.test('the service monitor scrapes what its component switches on', async (t) => {
  const [{ patches }] = read('components/service-monitor/kustomization.yaml')
  const [[{ value }]] = parse(patches[0].patch)
  const [{ spec }] = read(FILE)
  const running = new Service(t, { DATABASE_URL: await sharedDatabase(), [value.name]: value.value })
  t.equal((await fetch(`${await running.url()}${spec.endpoints[0].path}`)).status, 200)
})
