import t from 'tap'
import { sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { type Manifest, read, renderTeams, skip, validate } from './manifests.ts'

const COMPONENT = 'components/service-monitor'
const [monitor] = read(`${COMPONENT}/service-monitor.yaml`)
const [service] = read(`${COMPONENT}/service.yaml`)
const [policy] = read(`${COMPONENT}/network-policy.yaml`)
const [{ spec }] = read(`${COMPONENT}/metrics-port.yaml`)
const [{ env, ports }] = spec.template.spec.containers

t.test('the service monitor is what the Prometheus operator takes, and the rest what Kubernetes does', async (t) => {
  await validate(t, [monitor], '@kubernetes-models/prometheus-operator')
  await validate(t, [service, policy])
})

t.test(
  'the service monitor scrapes what its component switches on, on a port that nobody else is let in on',
  async (t) => {
    const variables = Object.fromEntries(env.map(({ name, value }: Manifest) => [name, value]))
    const [{ name, containerPort }] = ports
    t.equal(Number(variables['METRICS_PORT']), containerPort)
    t.match(service.spec, { clusterIP: 'None', ports: [{ name, targetPort: name }] })
    t.match(service.metadata.labels, monitor.spec.selector.matchLabels)
    const [other] = read('base/service.yaml')
    t.notMatch(other.metadata.labels, monitor.spec.selector.matchLabels)
    t.match(policy.spec.ingress, [{ from: [{ namespaceSelector: {} }], ports: [{ port: name }] }])

    const [{ port, path }] = monitor.spec.endpoints
    t.equal(port, name)
    const running = new Service(t, { DATABASE_URL: await sharedDatabase(), ...variables, METRICS_PORT: '0' })
    const { msg } = await running.logged('Metrics listening at ')
    t.equal((await fetch(msg.replace('Metrics listening at ', '') + path)).status, 200)
    await running.logged('ready')
    t.equal((await fetch((await running.url()) + path)).status, 404)
  },
)

t.test("a team's overlay names the component", { skip }, async (t) => {
  const manifests = await renderTeams(t, (text) => `${text}\ncomponents: [../../components/service-monitor]\n`)
  const [container] = manifests.find(({ kind }) => kind === 'Deployment').spec.template.spec.containers
  t.match(container.ports, [...ports, { name: 'http' }], 'beside what it has')
  const named = container.env.map(({ name }: { name: string }) => name)
  for (const { name } of [...env, { name: 'DATABASE_URL_FILE' }]) t.ok(named.includes(name), name)
  t.ok(manifests.some(({ kind }) => kind === 'ServiceMonitor'))
})
