import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { configure, SETTINGS } from '../support/app.ts'
import { event, ROOT, run, sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { PROBE_LIMIT_MS, Prober } from '../support/tools.ts'
import { FOLDER, type Manifest, parse, read, validate } from './manifests.ts'

const FILES = [
  'base/deployment.yaml',
  'base/horizontal-pod-autoscaler.yaml',
  'base/network-policy.yaml',
  'base/pod-disruption-budget.yaml',
  'base/service.yaml',
  'overlays/migrate-by-job/job.yaml',
  'secret.example.yaml',
]
const OVERLAYS = ['migrate-at-boot', 'migrate-by-job']

const skip = spawnSync('kubectl', ['version', '--client']).error ? 'kubectl is not installed' : false

async function render(overlay: string): Promise<Manifest[]> {
  return parse((await run('kubectl', ['kustomize', path.join(FOLDER, 'overlays', overlay)])).stdout)
}

t.test(`the manifests ${skip ? '' : 'and the overlays, rendered, '}are what the Kubernetes API takes`, async (t) => {
  const rendered = skip ? [] : await Promise.all(OVERLAYS.map(render))
  await validate(t, [...FILES.flatMap(read), ...rendered.flat()])
})

for (const overlay of OVERLAYS) {
  t.test(`what the overlay ${overlay} sets, the service knows`, { skip }, async (t) => {
    const manifests = await render(overlay)
    const containers = manifests.flatMap(({ spec }) => spec?.template?.spec.containers ?? [])
    const variables = [
      ...containers.flatMap(({ env }) => env.map(({ name }: Manifest) => name)),
      ...manifests.flatMap(({ kind, data }) => (kind === 'ConfigMap' ? Object.keys(data) : [])),
    ]
    for (const name of variables) t.ok(name in SETTINGS, `${name} is a setting of the service`)

    const secrets = read('secret.example.yaml')
    for (const { env } of containers) {
      for (const { value } of env) {
        const [, name, key] = /^\/run\/secrets\/([^/]+)\/(.+)$/.exec(value) as string[]
        t.ok(
          secrets.find(({ metadata }) => metadata.name === name)?.stringData[key as string],
          `${value} is in a secret`,
        )
      }
    }
  })
}

const { spec: pod } = read('base/deployment.yaml')[0].spec.template
const [container] = pod.containers
const probes = {
  startup: container.startupProbe,
  liveness: container.livenessProbe,
  readiness: container.readinessProbe,
}

/** As the kubelet does. */
async function prober(t: Test, running: Service, { httpGet, timeoutSeconds }: Manifest): Promise<Prober> {
  t.equal(timeoutSeconds * 1000, PROBE_LIMIT_MS)
  return new Prober(t, `${await running.url()}${httpGet.path}`)
}

t.test('the probes pass while the service serves', async (t) => {
  const running = new Service(t, { DATABASE_URL: await sharedDatabase() })
  await running.logged('ready')
  for (const probe of Object.values(probes)) await (await prober(t, running, probe)).next(200)
})

t.test('a database that hangs fails readiness within the timeout of the probe, and liveness not', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1')
  await event(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const running = new Service(t, { DATABASE_URL: `postgres://127.0.0.1:${port}/app` })
  const live = await prober(t, running, probes.liveness)
  await live.next(200)
  for (const probe of [probes.readiness, probes.startup]) {
    const asked = await prober(t, running, probe)
    await asked.next(503)
    asked.inTime(t, live)
  }
  t.equal(live.count(200), live.answers.length)
})

t.test('the numbers agree with those of the service', async (t) => {
  const delaySeconds = 5 // SHUTDOWN_DELAY_MS in production
  const { SHUTDOWN_TIMEOUT_MS } = await configure(t, { DATABASE_URL: 'postgres://localhost/app' })
  t.ok(pod.terminationGracePeriodSeconds > delaySeconds + SHUTDOWN_TIMEOUT_MS / 1000)
  const { periodSeconds, failureThreshold } = probes.readiness
  t.ok(periodSeconds * failureThreshold < delaySeconds)

  const [{ name, containerPort }] = container.ports
  for (const { httpGet } of Object.values(probes)) t.equal(httpGet.port, name)
  const image = readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8')
  t.match(image, `PORT=${containerPort} `)
  t.match(image, `USER ${pod.securityContext.runAsUser}:${pod.securityContext.runAsGroup}`)
})
